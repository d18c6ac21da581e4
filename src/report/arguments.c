#include "report/arguments.h"

#include "base/error.h"

#include <getopt.h>
#include <string.h>

const char arguments_help[] =
	"  --sweep S        a sweep's name or file; may be left out where the database has only one\n"
	"  --db FILE        default results/lab.db\n"
	"  --rule R         default (validation loss, raw), paper, paper-scaled\n"
	"  --target L       a loss in nats per token, or baseline; default: the sweep's targets\n"
	"  --no-head-flops  leave the output head out of FLOPs\n"
	"  --force          show what would be refused, stamped\n"
	"  -o PATH          write there\n";

enum { SWEEP = 256, DB, FORMAT, RULE, AXIS, TARGET, FORCE, NO_HEAD, JSON, NO_COLOR };

static const struct option options[] = {
	{"sweep", 1, NULL, SWEEP}, {"db", 1, NULL, DB}, {"format", 1, NULL, FORMAT},
	{"rule", 1, NULL, RULE}, {"x", 1, NULL, AXIS}, {"target", 1, NULL, TARGET},
	{"force", 0, NULL, FORCE}, {"no-head-flops", 0, NULL, NO_HEAD}, {"json", 0, NULL, JSON},
	{"no-color", 0, NULL, NO_COLOR}, {"output", 1, NULL, 'o'}, {"help", 0, NULL, 'h'}, {0},
};

static void take(struct arguments *a, int option)
{
	switch (option) {
	case SWEEP: a->sweep = optarg; break;
	case DB: a->db = optarg; break;
	case FORMAT: a->format = optarg; break;
	case RULE: a->study.rule = optarg; break;
	case AXIS: a->axis = optarg; break;
	case TARGET: a->study.target = optarg; break;
	case FORCE: a->study.force = true; break;
	case NO_HEAD: a->study.no_head_flops = true; break;
	case JSON: a->format = "json"; break;
	case NO_COLOR: break;	/* nothing here has colour */
	case 'o': a->output = optarg; break;
	case 'q': log_level = LOG_QUIET; break;
	case 'v': log_level = LOG_VERBOSE; break;
	case 'h': a->help = true; break;
	}
}

int arguments_parse(struct arguments *a, int argc, char **argv)
{
	int option;

	*a = (struct arguments){.db = "results/lab.db", .axis = "tokens"};
	optind = 0;	/* from the start */
	opterr = 0;
	while ((option = getopt_long(argc, argv, "o:qvh", options, NULL)) != -1) {
		if (option == '?')
			return error("%s: unknown option or missing value: %s (see --help)", argv[0], argv[optind - 1]);
		take(a, option);
	}
	if (optind < argc)
		a->name = argv[optind++];
	if (optind < argc)
		return error("%s: one name at a time: \"%s\" is too many", argv[0], argv[optind]);
	return 0;
}

/* The only sweep of the database, in the study's words for errors otherwise. */
static const char *only_sweep(struct db *db, struct arena *a)
{
	struct db_statement row;
	const char *name = "";

	db_prepare(&row, db, "SELECT name FROM sweep WHERE (SELECT count(*) FROM sweep) = 1");
	if (db_step(&row))
		name = arena_strdup(a, db_text(&row, 0));
	db_finish(&row);
	return name;
}

int arguments_open(const struct arguments *a, struct db *db, struct study *s)
{
	struct arena names = {0};

	*s = (struct study){.n_runs = 0};
	if (db_open(db, a->db, DB_READ))
		return EXIT_ENVIRONMENT;
	int failed = study_open(s, db, a->sweep ? a->sweep : only_sweep(db, &names), &a->study);
	arena_release(&names);
	if (failed)
		db_close(db);
	return failed ? EXIT_USAGE : EXIT_DONE;
}

void arguments_close(struct db *db, struct study *s)
{
	study_close(s);
	db_close(db);
}
