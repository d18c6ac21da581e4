/* Files of tensors, as others write them: what is read, what is passed over, what is no such file. */
#include "caught.h"

#include <stdlib.h>

#include "base/path.h"
#include "tensor/safetensors.h"

static char path[256], folder[200];

static int set_up(void **state)
{
	(void)state;
	if (path_tmp_folder(folder, sizeof folder, "tensors"))
		return -1;
	snprintf(path, sizeof path, "%s/a.safetensors", folder);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	error_sink = NULL;
	return path_remove_tree(folder);
}

/* A file of this header, and n bytes of data: 0, 1, 2, ... */
static void write_file(const char *header, size_t n)
{
	uint64_t length = strlen(header);
	unsigned char *data = xcalloc(n, 1);
	const struct path_piece pieces[] = {{.bytes = &length, .n = sizeof length},
		{.bytes = header, .n = length}, {.bytes = data, .n = n}};

	for (size_t i = 0; i < n; i++)
		data[i] = (unsigned char)i;
	assert_int_equal(path_write_pieces(path, pieces, 3), 0);
	free(data);
}

#define T(name, dtype, shape, from, to)                                                            \
	"\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #from "," #to "]}"

static void whole_files_are_read(void **state)
{
	struct safetensors f;

	(void)state;
	write_file("{\"__metadata__\":{\"k\":\"v\"}," T("b", "I32", "[2]", 4, 12) "," T("a", "F32", "[]", 0, 4)
		"}   ", 12);
	catch_messages();
	assert_int_equal(safetensors_open(&f, path), 0);
	assert_string_equal(caught, "");
	assert_int_equal(f.n, 2);
	assert_string_equal(safetensors_metadata(&f, "k"), "v");
	assert_int_equal(safetensors_find(&f, "a")->n_dims, 0);
	assert_true(safetensor_at(safetensors_find(&f, "b"), 0) == 0x07060504);
	safetensors_close(&f);
	write_file("{\"__metadata__\":{\"hash\":\"sha256:1\"}," T("a", "F32", "[1]", 0, 4) "}", 4);
	assert_int_equal(safetensors_open(&f, path), 0);
	safetensors_close(&f);
	write_file("{}", 0);
	assert_int_equal(safetensors_open(&f, path), 0);
	safetensors_close(&f);
}

static void others_are_named_and_passed_over(void **state)
{
	struct safetensors f;

	(void)state;
	write_file("{" T("half", "F16", "[2]", 0, 4) "," T("none", "F32", "[3,0]", 4, 4) ","
		T("a", "F32", "[1]", 4, 8) "," T("deep", "F32", "[1,1,1,1,1,1,1,1,1]", 8, 12) ","
		T("new", "F8_E9", "[7]", 12, 16) "," T("z", "U8", "[2]", 16, 18) "}", 18);
	catch_messages();
	assert_int_equal(safetensors_open(&f, path), 0);
	assert_caught("5 tensors passed over, empty or of a type that is not read here: half, none, deep, "
		"new, ...");
	assert_true(strchr(caught, '\n') == caught + strlen(caught) - 1);
	assert_int_equal(f.n, 1);
	assert_non_null(safetensors_find(&f, "a"));
	assert_null(safetensors_find(&f, "half"));
	safetensors_close(&f);
}

static void files_that_are_not_whole_are_refused(void **state)
{
	static const struct {
		const char *header;
		size_t n;
		const char *says;
	} faults[] = {
		{"{" T("a", "F32", "[2]", 0, 8) "," T("b", "F32", "[1]", 4, 8) "}", 8, "overlap"},
		{"{" T("a", "F32", "[1]", 0, 4) "," T("b", "F32", "[1]", 8, 12) "}", 12, "belong to none"},
		{"{" T("a", "F32", "[1]", 4, 8) "}", 8, "belong to none"},
		{"{" T("a", "F32", "[1]", 0, 4) "}", 5, "bytes behind the last tensor"},
		{"{" T("a", "F16", "[1]", 0, 2) "," T("b", "F16", "[1]", 1, 3) "}", 3, "overlap"},
		{"{}", 1, "bytes behind the last tensor"},
		{"{" T("a", "F32", "[2]", 0, 8) "}", 7, "lies outside of the file"},
		{"{" T("a", "F32", "[1]", -4, 0) "}", 4, "lies outside of the file"},
		{"{" T("a", "F32", "[1]", 4, 0) "}", 4, "lies outside of the file"},
		{"{" T("a", "F32", "[2]", 0, 4) "}", 4, "not the size of its shape"},
		{"{" T("a", "F32", "[0]", 0, 4) "}", 4, "not the size of its shape"},
		{"{" T("a", "F32", "[4294967296,4294967296]", 0, 0) "}", 0, "larger than any memory"},
		{"{" T("a", "F16", "[4611686018427387904,8]", 0, 0) "}", 0, "larger than any memory"},
		{"{" T("a", "F32", "[-1]", 0, 4) "}", 4, "has no shape"},
		{"{" T("a", "F32", "[1.0]", 0, 4) "}", 4, "has no shape"},
		{"{" T("a", "F32", "[1]", 0.0, 4) "}", 4, "no type, no shape or no place"},
		{"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "no type, no shape or no place"},
		{"{\"a\":3}", 4, "no type, no shape or no place"},
		{"{" T("a", "F32", "[1]", 0, 4) "," T("a", "F32", "[1]", 0, 4) "}", 4, "no JSON object"},
		{"{\"__metadata__\":{\"format\":\"moelab 1\",\"hash\":\"00\"}," T("a", "F32", "[1]", 0, 4) "}", 4,
			"does not match its hash"},
	};
	struct safetensors f;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		write_file(faults[i].header, faults[i].n);
		catch_messages();
		if (!safetensors_open(&f, path))
			fail_msg("taken: %s", faults[i].header);
		assert_caught(faults[i].says);
		assert_caught("not a whole safetensors file");
		assert_lacks(caught, "delete");
		assert_true(strchr(caught, '\n') == caught + strlen(caught) - 1);
	}
	assert_int_equal(path_write(path, "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10), 0);
	assert_int_equal(safetensors_open(&f, path), -1);
	assert_caught("header longer than the file");
	assert_int_equal(path_write(path, "PK\3\4", 4), 0);
	assert_int_equal(safetensors_open(&f, path), -1);
	assert_caught("too short");
}

static void written_files_read_back(void **state)
{
	static const float a[] = {1, 2}, b[] = {3};
	const struct safetensor list[] = {
		{.name = "z", .dtype = "F32", .n_dims = 1, .dims = {2}, .data = a, .bytes = sizeof a},
		{.name = "b", .dtype = "F32", .n_dims = 1, .dims = {1}, .data = b, .bytes = sizeof b}};
	const struct safetensors_meta meta[] = {{"format", "moelab 1"}};
	struct safetensors f;

	(void)state;
	assert_int_equal(safetensors_write(path, list, 2, meta, 1), 0);
	assert_int_equal(safetensors_open(&f, path), 0);
	assert_true(safetensor_at(safetensors_find(&f, "b"), 0) == 3);
	assert_int_equal(strlen(safetensors_metadata(&f, "hash")), 32);
	safetensors_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		TEST(whole_files_are_read), TEST(others_are_named_and_passed_over),
		TEST(files_that_are_not_whole_are_refused), TEST(written_files_read_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
