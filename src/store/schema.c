/* schema.sql and bench.sql, in the program. */
#include <stddef.h>

#include "store/db.h"

__asm__(".pushsection .rodata\n"
	".global db_schema\n"
	".type db_schema, @object\n"
	"db_schema: .incbin \"store/schema.sql\"\n"
	".global bench_schema\n"
	"bench_schema: .incbin \"store/bench.sql\"\n"
	".byte 0\n"
	".size db_schema, . - db_schema\n"
	".popsection\n");

/* What each version added, as it was then: db_schema is the newest alone. */
const char *const db_migrations[] = {
	"CREATE TABLE slice ("
	" run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE, kind TEXT NOT NULL,"
	" step INTEGER NOT NULL, \"by\" TEXT NOT NULL, low INTEGER NOT NULL,"
	" high INTEGER NOT NULL, loss REAL, n_tokens INTEGER,"
	" PRIMARY KEY (run_id, kind, step, \"by\", low)) STRICT, WITHOUT ROWID;"
	"CREATE TABLE calibration ("
	" run_id INTEGER PRIMARY KEY REFERENCES run ON DELETE CASCADE,"
	" seconds_per_step REAL NOT NULL, n_steps INTEGER, busy REAL, measured TEXT NOT NULL,"
	" host TEXT, device TEXT, threads INTEGER, cpu TEXT, blas_core TEXT, git TEXT, build TEXT"
	") STRICT;",
	bench_schema,
	"CREATE TABLE part ("
	" run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE, part TEXT NOT NULL,"
	" params INTEGER, active INTEGER, flops REAL, PRIMARY KEY (run_id, part)) STRICT, WITHOUT ROWID;",
	NULL,
};
