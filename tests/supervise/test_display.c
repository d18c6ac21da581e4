/* What is drawn while runs go on: on a terminal, here one of the test's own, and elsewhere. */
#include "supervise/display.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "caught.h"

static int ends[2], before;	/* what stderr is now: its reading and its writing end; and what it was */

/* Messages of cmocka go to stderr, too: between these two there is no assertion. */
static void begin(bool tty)
{
	struct termios raw;

	if (tty) {
		ends[0] = posix_openpt(O_RDWR | O_NOCTTY);
		assert_true(ends[0] >= 0 && !grantpt(ends[0]) && !unlockpt(ends[0]));
		ends[1] = open(ptsname(ends[0]), O_RDWR | O_NOCTTY);
		assert_int_equal(tcgetattr(ends[1], &raw), 0);
		cfmakeraw(&raw);
		assert_int_equal(tcsetattr(ends[1], TCSANOW, &raw), 0);
		assert_int_equal(ioctl(ends[1], TIOCSWINSZ, &(struct winsize){.ws_col = 70}), 0);
	} else {
		assert_int_equal(pipe(ends), 0);
	}
	before = dup(STDERR_FILENO);
	dup2(ends[1], STDERR_FILENO);
}

static void end(void)
{
	dup2(before, STDERR_FILENO);
	close(before);
	close(ends[0]);
	close(ends[1]);
}

/*
 * What has been drawn since; it holds until the next call. A terminal hands on what was written when the kernel comes
 * to it: so all until a mark behind it is read.
 */
static const char *drawn(void)
{
	static char text[4][2048];
	static int k;
	char *to = text[k++ % 4];
	size_t used = 0;

	fputc('\f', stderr);
	fflush(stderr);
	do {
		ssize_t n = read(ends[0], to + used, sizeof *text - used);
		if (n <= 0)
			abort();
		used += (size_t)n;
	} while (used < sizeof *text && to[used - 1] != '\f');
	to[used - 1] = '\0';
	return to;
}

static struct display_row row(long step)
{
	return (struct display_row){.label = "moe_mamba-n_experts=8", .seed = 1, .from = 100, .step = step,
		.steps = 1000, .loss = 2.34567, .val_loss = NAN, .tokens_per_s = 12345};
}

static void test_line(void **state)
{
	struct display_row r = row(300);
	char line[200];

	(void)state;
	display_line(&r, 100, line, 200);
	assert_string_equal(line, "moe_mamba-n_experts=8 s1  300/1000  loss 2.3457  12,345 tok/s  "
		"5 min 50 s left");
	display_line(&r, 100, line, 20);
	assert_string_equal(line, "moe_mamba-n_experts");
}

#define ROWS "moe_mamba-n_experts=8 s1  starting\n" \
	"moe_mamba-n_experts=8 s1  300/1000  loss 2.3457  12,345 tok/s  5 min \n"

static void test_terminal(void **state)
{
	struct display_total total = {.sweep = "demo", .n = 7, .done = 3, .failed = 1, .running = 2, .share = 0.25,
		.begun_s = 1000, .now_s = 1100};
	struct display_row rows[] = {row(0), row(300)};
	const char *first, *second, *cleared, *quiet;
	struct display p;

	(void)state;
	rows[1].begun_s = total.begun_s;
	setenv("TERM", "xterm", 1);
	begin(true);
	display_open(&p, total.begun_s);
	display_draw(&p, &total, rows, 2, true);
	first = drawn();
	total.share = 0;
	total.failed = 0;
	display_draw(&p, &total, rows, 1, true);
	second = drawn();
	total.now_s += 0.1;
	display_draw(&p, &total, rows, 1, false);	/* too soon */
	display_clear(&p);
	display_clear(&p);
	cleared = drawn();
	log_level = LOG_QUIET;
	display_draw(&p, &total, rows, 2, true);
	log_level = LOG_NORMAL;
	quiet = drawn();
	end();
	assert_string_equal(first, ROWS "demo: 3 of 7 done, 1 failed, 2 running, about 5 min 0 s left\n");
	assert_string_equal(second, "\033[3A\033[Jmoe_mamba-n_experts=8 s1  starting\ndemo: 3 of 7 done, 2 running\n");
	assert_string_equal(cleared, "\033[2A\033[J");
	assert_string_equal(quiet, "");
}

static void test_file(void **state)
{
	struct display_total total = {.sweep = "demo", .n = 7};
	struct display_row r = row(0);
	const char *text;
	struct display p;

	(void)state;
	begin(false);
	display_open(&p, 0);
	display_draw(&p, &total, &r, 1, true);
	display_clear(&p);
	total.now_s = 14.9;
	display_draw(&p, &total, &r, 1, false);		/* too soon */
	r.label = "later";
	total.now_s = 15;
	display_draw(&p, &total, &r, 1, false);
	text = drawn();
	end();
	assert_string_equal(text, "moe_mamba-n_experts=8 s1  starting\nlater s1  starting\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_line), cmocka_unit_test(test_terminal), cmocka_unit_test(test_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
