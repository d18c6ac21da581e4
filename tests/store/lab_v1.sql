-- A database of schema version 1, as moelab left it: two runs of one sweep, and what they told.
-- It stands for the databases that users have, and never changes.
PRAGMA application_id = 1836017004;
PRAGMA user_version = 1;
CREATE TABLE sweep (
	sweep_id	INTEGER PRIMARY KEY,
	name		TEXT NOT NULL UNIQUE,
	file		TEXT,
	question	TEXT,
	baseline	TEXT,
	planned		TEXT
) STRICT;
CREATE TABLE target (
	sweep_id	INTEGER NOT NULL REFERENCES sweep ON DELETE CASCADE,
	n		INTEGER NOT NULL,
	kind		TEXT NOT NULL,
	loss		REAL,
	PRIMARY KEY (sweep_id, n)
) STRICT, WITHOUT ROWID;
CREATE TABLE published (
	sweep_id	INTEGER NOT NULL REFERENCES sweep ON DELETE CASCADE,
	n		INTEGER NOT NULL,
	label		TEXT NOT NULL,
	quantity	TEXT NOT NULL,
	value		REAL,
	text		TEXT NOT NULL,
	PRIMARY KEY (sweep_id, label, quantity)
) STRICT, WITHOUT ROWID;
CREATE TABLE run (
	run_id		INTEGER PRIMARY KEY,
	identity	TEXT NOT NULL UNIQUE,
	dir		TEXT NOT NULL UNIQUE,
	label		TEXT NOT NULL,
	seed		INTEGER NOT NULL,
	steps		INTEGER,
	state		TEXT NOT NULL DEFAULT 'queued'
			CHECK (state IN ('queued', 'running', 'done', 'failed', 'diverged', 'stopped', 'lost')),
	reason		TEXT,
	config		TEXT,
	arch		TEXT,
	data_hash	TEXT,
	data_tokens	INTEGER,
	tokenizer	TEXT,
	vocab		INTEGER,
	"precision"	TEXT,
	semantics	TEXT,
	params_total	INTEGER,
	params_active	INTEGER,
	params_embedding INTEGER,
	flops_per_token	REAL
) STRICT;
CREATE TABLE member (
	sweep_id	INTEGER NOT NULL REFERENCES sweep ON DELETE CASCADE,
	run_id		INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
	label		TEXT NOT NULL,
	variant		TEXT NOT NULL,
	n		INTEGER NOT NULL,
	PRIMARY KEY (sweep_id, run_id, label)
) STRICT, WITHOUT ROWID;
CREATE INDEX member_of_run ON member(run_id);
CREATE TABLE axis (
	sweep_id	INTEGER NOT NULL REFERENCES sweep ON DELETE CASCADE,
	run_id		INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
	key		TEXT NOT NULL,
	short_key	TEXT NOT NULL,
	value		TEXT NOT NULL,
	PRIMARY KEY (sweep_id, run_id, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE param (
	run_id		INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
	key		TEXT NOT NULL,
	value		ANY,
	PRIMARY KEY (run_id, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE attempt (
	run_id		INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
	n		INTEGER NOT NULL,
	started		TEXT NOT NULL,
	ended		TEXT,
	exit_code	INTEGER,
	exit_signal	INTEGER,
	host		TEXT,
	pid		INTEGER,
	boot_id		TEXT,
	start_time	INTEGER,
	device		TEXT,
	threads		INTEGER,
	jobs		INTEGER,
	blas		TEXT,
	blas_core	TEXT,
	cpu		TEXT,
	git		TEXT,
	build		TEXT,
	argv		TEXT,
	memory_planned_bytes	INTEGER,
	PRIMARY KEY (run_id, n),
	UNIQUE (run_id, pid, boot_id, start_time)
) STRICT, WITHOUT ROWID;
CREATE TABLE step (
	run_id		INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
	step		INTEGER NOT NULL,
	tokens		INTEGER,
	seconds		REAL,
	flops		REAL,
	ce		REAL,
	aux		REAL,
	balance		REAL,
	z		REAL,
	lr		REAL,
	grad_norm	REAL,
	clipped		INTEGER,
	tokens_per_s	REAL,
	"drop"		REAL,
	PRIMARY KEY (run_id, step)
) STRICT, WITHOUT ROWID;
CREATE TABLE eval (
	run_id		INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
	kind		TEXT NOT NULL,
	step		INTEGER NOT NULL,
	tokens		INTEGER,
	seconds		REAL,
	flops		REAL,
	loss		REAL,
	bpb		REAL,
	accuracy	REAL,
	loss_bigram	REAL,
	share_bigram	REAL,
	"drop"		REAL,
	n_tokens	INTEGER,
	windows		TEXT,
	capacity	TEXT,
	PRIMARY KEY (run_id, kind, step)
) STRICT, WITHOUT ROWID;
CREATE TABLE router (
	run_id		INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
	step		INTEGER NOT NULL,
	router		INTEGER NOT NULL,
	dead		INTEGER,
	entropy		REAL,
	"drop"		REAL,
	PRIMARY KEY (run_id, step, router)
) STRICT, WITHOUT ROWID;
CREATE TABLE expert (
	run_id		INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
	step		INTEGER NOT NULL,
	router		INTEGER NOT NULL,
	expert		INTEGER NOT NULL,
	load		REAL,
	PRIMARY KEY (run_id, step, router, expert)
) STRICT, WITHOUT ROWID;
CREATE TABLE param_group (
	run_id		INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
	step		INTEGER NOT NULL,
	"group"		TEXT NOT NULL,
	grad_norm	REAL,
	update_ratio	REAL,
	weight_norm	REAL,
	PRIMARY KEY (run_id, step, "group")
) STRICT, WITHOUT ROWID;
CREATE TABLE event (
	event_id	INTEGER PRIMARY KEY,
	run_id		INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
	kind		TEXT NOT NULL,
	step		INTEGER NOT NULL DEFAULT 0,
	wall		TEXT NOT NULL DEFAULT '',
	text		TEXT NOT NULL DEFAULT '',
	UNIQUE (run_id, wall, kind, step, text)
) STRICT;
CREATE VIEW place AS
SELECT w.name AS sweep, m.label, m.variant, m.n, m.run_id
FROM sweep w JOIN member m ON m.sweep_id = w.sweep_id
UNION ALL
SELECT NULL, r.label, r.label, NULL, r.run_id
FROM run r WHERE NOT EXISTS (SELECT 1 FROM member m WHERE m.run_id = r.run_id);
CREATE VIEW runs AS
SELECT	p.sweep, p.label, p.variant, r.seed, p.n,
	r.run_id, r.identity, r.dir, r.state, r.reason,
	r.arch, r.steps,
	s.step, s.tokens, s.seconds, s.flops,
	s.ce AS train_loss,
	v.loss, exp(v.loss) AS perplexity,
	v.bpb, v.accuracy, v.step AS loss_step, v.windows, v.n_tokens AS eval_tokens,
	(SELECT loss FROM eval d WHERE d.run_id = r.run_id AND d.kind = 'val_dropless'
		ORDER BY d.step DESC LIMIT 1) AS loss_dropless,
	s."drop",
	s.tokens / nullif(s.seconds, 0) AS tokens_per_s,
	r.params_total, r.params_active, r.params_embedding, r.flops_per_token,
	r.data_hash, r.data_tokens, r.tokenizer, r.vocab, r."precision", r.semantics,
	a.n AS attempts, a.started, a.ended, a.host, a.device, a.threads, a.jobs,
	a.blas, a.blas_core, a.cpu, a.git, a.build, a.memory_planned_bytes
FROM place p
JOIN run r ON r.run_id = p.run_id
LEFT JOIN step s ON s.run_id = r.run_id
	AND s.step = (SELECT max(step) FROM step WHERE run_id = r.run_id)
LEFT JOIN eval v ON v.run_id = r.run_id AND v.kind = 'val'
	AND v.step = (SELECT max(step) FROM eval WHERE run_id = r.run_id AND kind = 'val')
LEFT JOIN attempt a ON a.run_id = r.run_id
	AND a.n = (SELECT max(n) FROM attempt WHERE run_id = r.run_id);
CREATE VIEW curve AS
SELECT	p.sweep, p.label, r.seed, r.run_id, 'train' AS kind,
	s.step, s.tokens, s.seconds, s.flops, s.ce AS loss
FROM place p
JOIN run r ON r.run_id = p.run_id
JOIN step s ON s.run_id = r.run_id
UNION ALL
SELECT	p.sweep, p.label, r.seed, r.run_id, e.kind,
	e.step, e.tokens, e.seconds, e.flops, e.loss
FROM place p
JOIN run r ON r.run_id = p.run_id
JOIN eval e ON e.run_id = r.run_id;
INSERT INTO sweep(sweep_id, name, file, baseline) VALUES (1, 'old/sweep', 'sweeps/old/sweep.yaml', 'mamba');
INSERT INTO target VALUES (1, 1, 'baseline', NULL);
INSERT INTO published VALUES (1, 1, 'moe_mamba', 'speedup', 2.35, '2.35');
INSERT INTO run(run_id, identity, dir, label, seed, steps, state, config, arch, data_hash, vocab)
VALUES (1, 'aaaa0000', 'runs/mamba-s1-aaaa0000', 'mamba', 1, 20, 'done', 'train.lr: 1e-3', 'mamba', 'd0', 257),
	(2, 'bbbb0000', 'runs/moe_mamba-s1-bbbb0000', 'moe_mamba', 1, 20, 'done', 'train.lr: 1e-3', 'moe_mamba', 'd0', 257);
INSERT INTO member VALUES (1, 1, 'mamba', 'mamba', 1), (1, 2, 'moe_mamba-n_experts=8', 'moe_mamba', 2);
INSERT INTO axis VALUES (1, 2, 'model.moe.n_experts', 'n_experts', '8');
INSERT INTO param VALUES (1, 'train.lr', 0.001), (2, 'train.lr', 0.001), (2, 'model.moe.n_experts', 8);
INSERT INTO attempt(run_id, n, started, ended, exit_code, host, pid, boot_id, start_time, threads, jobs)
VALUES (1, 1, '2026-01-01T00:00:00Z', '2026-01-01T00:00:09Z', 0, 'here', 7, 'b', 9, 1, 2);
INSERT INTO step(run_id, step, tokens, seconds, ce) VALUES (1, 10, 100, 2, 3), (1, 20, 200, 4, 2.5), (2, 20, 200, 5, 2.25);
INSERT INTO eval(run_id, kind, step, tokens, loss) VALUES (1, 'val', 20, 200, 2.5), (2, 'val', 20, 200, 2.25), (2, 'val_dropless', 20, 200, 2.125);
INSERT INTO router VALUES (2, 20, 0, 0, 1.5, 0.01);
INSERT INTO expert VALUES (2, 20, 0, 0, 0.25), (2, 20, 0, 1, 0.75);
INSERT INTO param_group VALUES (1, 20, 'mixer', 0.5, 0.001, 20);
INSERT INTO event(run_id, kind, step, wall, text) VALUES (1, 'done', 20, '2026-01-01T00:00:09Z', '');
