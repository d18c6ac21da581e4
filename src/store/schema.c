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

/* The view `runs` from version 6 on, but for one column. */
#define RUNS(perplexity) \
	"CREATE VIEW runs AS SELECT p.sweep, p.label, p.variant, r.seed, p.n," \
	" r.run_id, r.identity, r.dir, r.state, r.reason, r.arch, r.steps," \
	" s.step, s.tokens, s.seconds, s.flops, s.ce AS train_loss," \
	" v.loss, " perplexity " AS perplexity, v.bpb, v.accuracy, v.step AS loss_step, v.windows," \
	" v.n_tokens AS eval_tokens," \
	" (SELECT loss FROM eval d WHERE d.run_id = r.run_id AND d.kind = 'val_dropless'" \
	" ORDER BY d.step DESC LIMIT 1) AS loss_dropless," \
	" s.\"drop\", s.tokens / nullif(s.seconds, 0) AS tokens_per_s," \
	" r.params_total, r.params_active, r.params_embedding, r.flops_per_token," \
	" r.data_hash, r.data_tokens, r.tokenizer, r.vocab, r.\"precision\", r.semantics," \
	" a.n AS attempts, a.started, a.ended, a.host, a.device, a.threads, a.jobs," \
	" a.blas, a.blas_core, a.cpu, a.git, a.build, a.memory_planned_bytes," \
	" (SELECT e.reason FROM exclusion e WHERE e.run_id = r.run_id) AS excluded," \
	" (SELECT group_concat(name, ' ') FROM (SELECT name FROM tag t WHERE t.run_id = r.run_id" \
	" ORDER BY name)) AS tags" \
	" FROM place p JOIN run r ON r.run_id = p.run_id" \
	" LEFT JOIN step s ON s.run_id = r.run_id" \
	" AND s.step = (SELECT max(step) FROM step WHERE run_id = r.run_id)" \
	" LEFT JOIN eval v ON v.run_id = r.run_id AND v.kind = 'val'" \
	" AND v.step = (SELECT max(step) FROM eval WHERE run_id = r.run_id AND kind = 'val')" \
	" LEFT JOIN attempt a ON a.run_id = r.run_id" \
	" AND a.n = (SELECT max(n) FROM attempt WHERE run_id = r.run_id);"

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
	"CREATE TABLE exclusion (run_id INTEGER PRIMARY KEY REFERENCES run ON DELETE CASCADE,"
	" reason TEXT NOT NULL) STRICT;"
	"CREATE TABLE tag (run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,"
	" name TEXT NOT NULL, PRIMARY KEY (run_id, name)) STRICT, WITHOUT ROWID;"
	"DROP VIEW runs;" RUNS("exp(v.loss)"),
	"CREATE TABLE recall (run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE, test TEXT NOT NULL,"
	" step INTEGER NOT NULL, tokens INTEGER, length INTEGER, items INTEGER, loss REAL, accuracy REAL,"
	" answer_accuracy REAL, n_tokens INTEGER, n_answers INTEGER,"
	" PRIMARY KEY (run_id, test, step)) STRICT, WITHOUT ROWID;",
	"CREATE TABLE taken (run_id INTEGER PRIMARY KEY REFERENCES run ON DELETE CASCADE,"
	" inode INTEGER NOT NULL, size INTEGER NOT NULL, bytes INTEGER NOT NULL,"
	" changed INTEGER NOT NULL) STRICT;"
	"CREATE TABLE taken_sweep (sweep_id INTEGER PRIMARY KEY REFERENCES sweep ON DELETE CASCADE,"
	" inode INTEGER NOT NULL, size INTEGER NOT NULL, changed INTEGER NOT NULL) STRICT;",
	"CREATE TABLE mix ("
	" run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE, step INTEGER NOT NULL,"
	" mix INTEGER NOT NULL, share REAL, PRIMARY KEY (run_id, step, mix)) STRICT, WITHOUT ROWID;",
	"ALTER TABLE run ADD COLUMN depends TEXT;"
	"ALTER TABLE router ADD COLUMN choices REAL;",
	"CREATE TABLE state ("
	" run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE, step INTEGER NOT NULL,"
	" state TEXT NOT NULL, least REAL, mean REAL, most REAL,"
	" PRIMARY KEY (run_id, step, state)) STRICT, WITHOUT ROWID;",
	"ALTER TABLE eval ADD COLUMN choices REAL;"
	"ALTER TABLE eval ADD COLUMN unserved REAL;"
	"ALTER TABLE router ADD COLUMN unserved REAL;",
	"ALTER TABLE router ADD COLUMN width REAL;",
	"ALTER TABLE recall ADD COLUMN mae REAL;"
	"ALTER TABLE recall ADD COLUMN majority REAL;"
	"ALTER TABLE recall ADD COLUMN last_mse REAL;"
	"ALTER TABLE recall ADD COLUMN last_mae REAL;"
	"ALTER TABLE recall ADD COLUMN season_mse REAL;"
	"ALTER TABLE recall ADD COLUMN season_mae REAL;",
	"DROP VIEW runs;" RUNS("CASE WHEN NOT EXISTS (SELECT 1 FROM param h WHERE h.run_id = r.run_id"
		" AND h.key = 'model.head' AND h.value = 'forecast') THEN exp(v.loss) END"),
	"ALTER TABLE mix ADD COLUMN spread REAL;",
	"ALTER TABLE router ADD COLUMN importance REAL;"
	"ALTER TABLE router ADD COLUMN load_cv2 REAL;"
	"ALTER TABLE router ADD COLUMN mean_entropy REAL;",
	"ALTER TABLE attempt ADD COLUMN gpu TEXT;",
	NULL,
};
