#include "data/import_images.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/rng.h"
#include "base/source.h"
#include "data/dataset_writer.h"
#include "data/manifest.h"

enum { GREYS = 256, MOST_DIMS = 4, CHUNK_ROWS = 1024, FILE_TOKENS = 1 << 30, MOST_BYTES = 1 << 24 };

static const size_t MOST_FILE = (size_t)1 << 36;

struct idx {			/* a file; items of `size` bytes each */
	const char *name;
	char *all;		/* header and values */
	size_t n_all;
	char hash[HASH_HEX];	/* of these */
	const uint8_t *bytes;	/* behind the header */
	int n_dims;
	long n, size, dims[MOST_DIMS];
};

static int parse_header(struct idx *f, int least_dims)
{
	const uint8_t *b = (const uint8_t *)f->all;
	long n = (long)f->n_all;

	if (n < 4 || b[0] || b[1])
		return error("%s: not in IDX (which begins with two bytes 0)", f->name);
	if (b[2] != 8 || b[3] < least_dims || b[3] > (least_dims == 1 ? 1 : MOST_DIMS))
		return error("%s: values of type %d in %d dimensions, expected bytes (8) in %s", f->name, b[2], b[3],
			least_dims == 1 ? "1, labels" : "2 to 4, images");
	f->n_dims = b[3];
	f->size = 1;
	for (int i = 0; i < f->n_dims && n >= 4 + 4 * f->n_dims; i++) {
		const uint8_t *at = b + 4 + 4 * i;
		f->dims[i] = (long)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
		f->size = i && f->size <= MOST_BYTES ? f->size * f->dims[i] : f->size;
	}
	f->n = f->dims[0];
	if (f->n < 1 || f->size < 1 || f->size > MOST_BYTES)
		return error("%s: holds no images of 1 to %d bytes", f->name, MOST_BYTES);
	if (n != 4 + 4 * f->n_dims + f->n * f->size)
		return error("%s: has %ld bytes, but its header says %ld items of %ld, %ld bytes: truncated?", f->name,
			n, f->n, f->size, 4 + 4 * f->n_dims + f->n * f->size);
	f->bytes = b + 4 + 4 * f->n_dims;
	return 0;
}

static int open_idx(struct idx *f, const char *name, int least_dims)
{
	f->name = name;
	f->all = source_text(name, MOST_FILE, &f->n_all);
	if (!f->all)
		return -1;
	hash_bytes(f->all, f->n_all, f->hash);
	return parse_header(f, least_dims);
}

struct pair {
	struct idx images, labels;
};

static int open_pair(struct pair *p, const char *images, const char *labels)
{
	if (open_idx(&p->images, images, 2) || open_idx(&p->labels, labels, 1))
		return -1;
	return p->images.n == p->labels.n ? 0 : error("%s: has %ld labels, but %s %ld images", labels, p->labels.n,
		images, p->images.n);
}

static void release_pair(struct pair *p)
{
	free(p->images.all);
	free(p->labels.all);
}

static void add_row(struct token_list *to, const struct pair *p, long i, int eot)
{
	long size = p->images.size;

	for (long k = 0; k < size; k++)
		token_list_add(to, p->images.bytes[i * size + k]);
	for (long k = 0; k < size - 1; k++)
		token_list_add(to, (uint16_t)eot);
	token_list_add(to, (uint16_t)(GREYS + p->labels.bytes[i]));
}

/* Which is held out is a function of the number alone. */
static enum split split_of(const struct images_options *o, long i)
{
	double u = rng_uniform(rng_block((struct rng_key){.seed = 1, .stream = hash_u64("images")}, (uint64_t)i), 0);

	return u < o->val ? SPLIT_VAL : u < o->val + o->tune ? SPLIT_TUNE : SPLIT_TRAIN;
}

/* All of them go to `split`; N_SPLITS: by chance to one of three. */
static int write_pair(struct dataset_writer *w, const struct images_options *o, const struct pair *p, enum split split,
	bool test)
{
	struct dataset_part parts[N_SPLITS] = {0};
	int ret = 0;

	for (long i = 0; i < p->images.n && !ret; i++) {
		enum split to = test ? SPLIT_TRAIN : split_of(o, i);
		add_row(&parts[to].tokens, p, i, w->d.eot);
		parts[to].n_documents++;
		for (enum split s = 0; s < N_SPLITS; s++) {
			if (parts[s].n_documents < CHUNK_ROWS && i < p->images.n - 1)
				continue;
			ret = ret || !parts[s].n_documents ? ret : dataset_writer_add(w, test ? split : s, &parts[s]);
			parts[s].tokens.n = 0;
			parts[s].n_documents = 0;
		}
	}
	for (enum split s = 0; s < N_SPLITS; s++)
		token_list_release(&parts[s].tokens);
	return ret;
}

static json_t *file_json(const struct idx *f)
{
	return json_pack("{so ss}", "name", manifest_text(f->name), "hash", f->hash);
}

/* Chance may leave a split of few images empty. */
static int check_splits(const struct dataset_writer *w, const struct images_options *o, long n)
{
	const struct dataset_split *s = w->d.splits;

	return s[SPLIT_TRAIN].n_documents && s[SPLIT_VAL].n_documents ? 0 : error("%s: of its %ld images %ld are to train "
		"and %ld to validate, drawn by --val %g --tune %g: both need some", o->images, n, s[SPLIT_TRAIN].n_documents,
		s[SPLIT_VAL].n_documents, o->val, o->tune);
}

static int write_all(struct dataset_writer *w, const struct images_options *o, const struct pair *train,
	const struct pair *test)
{
	json_t *files = json_pack("[o o]", file_json(&train->images), file_json(&train->labels)), *origin;
	int ret;

	dataset_writer_rows(w, train->images.size);
	ret = write_pair(w, o, train, SPLIT_TRAIN, false) ? DATASET_UNWRITTEN : check_splits(w, o, train->images.n);
	if (!ret && o->test_images) {
		enum split s = dataset_writer_test(w, "test", train->images.dims[1],
			train->images.n_dims > 2 ? train->images.dims[2] : 0, train->images.size);
		json_array_append_new(files, file_json(&test->images));
		json_array_append_new(files, file_json(&test->labels));
		ret = write_pair(w, o, test, s, true) ? DATASET_UNWRITTEN : 0;
	}
	origin = json_pack("{s{so sf sf}}", "images", "files", files, "val", o->val, "tune", o->tune);
	if (!ret && dataset_writer_commit(w, origin))
		ret = DATASET_UNWRITTEN;
	json_decref(origin);
	return ret;
}

static int most_label(const struct pair *p, int most)
{
	for (long i = 0; i < p->labels.n && p->labels.bytes; i++)
		most = p->labels.bytes[i] > most ? p->labels.bytes[i] : most;
	return most;
}

static int open_all(struct pair *train, struct pair *test, const struct images_options *o)
{
	if (open_pair(train, o->images, o->labels) ||
		(o->test_images && open_pair(test, o->test_images, o->test_labels)))
		return -1;
	if (o->test_images && test->images.size != train->images.size)
		return error("%s: images of %ld bytes, but those of %s have %ld", o->test_images, test->images.size,
			o->images, train->images.size);
	return 0;
}

int import_images(const struct images_options *o)
{
	struct pair train = {0}, test = {0};
	struct dataset_writer w;
	int ret = open_all(&train, &test, o), classes = most_label(&test, most_label(&train, 0)) + 1;
	struct tokenizer_type type = {.name = "images", .vocab = GREYS + classes + 1, .eot = GREYS + classes};

	if (!ret)
		ret = dataset_writer_open(&w, o->output, o->force, &type, FILE_TOKENS, 0);
	if (!ret) {
		ret = write_all(&w, o, &train, &test);
		if (!ret)
			info("%s: %ld images of %ld bytes in %d classes, %ld to validate; vocabulary %d", o->output,
				train.images.n, train.images.size, classes, w.d.splits[SPLIT_VAL].n_documents,
				type.vocab);
		dataset_writer_release(&w);
	}
	release_pair(&train);
	release_pair(&test);
	return ret;
}
