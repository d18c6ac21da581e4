-- The database of moelab: an index of the run directories, rebuilt at any time by `moelab ingest`.
--
-- Public interface: the views `runs` (one row per sweep and run) and `curve` (every loss that was
-- measured). Tables may gain columns; the columns of the views keep their meaning.
-- The tables from `step` to `event` hold what the runs said: rows are added, and replaced only by the
-- same record told again (a resumed run repeats the steps since its checkpoint). `run.state` and the
-- sweep tables follow the supervisor.
-- NULL in a measured column: not finite, or absent in that run (no experts, no such evaluation).
-- Losses are in nats per token. Times are UTC, "2026-11-23T20:15:56Z". JSON columns hold text.

CREATE TABLE sweep (
	sweep_id	INTEGER PRIMARY KEY,
	name		TEXT NOT NULL UNIQUE,	-- "micro/table1"; runs of `moelab train` are in the sweep "train"
	file		TEXT,			-- the sweep file, as it was named
	question	TEXT,			-- what the sweep asks
	baseline	TEXT,			-- label that tables compare with
	planned		TEXT			-- time of the last `moelab run`
) STRICT;

CREATE TABLE target (
	sweep_id	INTEGER NOT NULL REFERENCES sweep ON DELETE CASCADE,
	n		INTEGER NOT NULL,	-- from 1, in the order of the file
	kind		TEXT NOT NULL,		-- "baseline" (its final loss), "loss", "perplexity"
	loss		REAL,			-- nats per token, also for a perplexity; NULL for "baseline"
	PRIMARY KEY (sweep_id, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE published (
	sweep_id	INTEGER NOT NULL REFERENCES sweep ON DELETE CASCADE,
	n		INTEGER NOT NULL,	-- from 1, in the order of the file
	label		TEXT NOT NULL,		-- row of the published table
	quantity	TEXT NOT NULL,		-- "loss", "perplexity", "speedup", "params", "active"
	value		REAL,			-- NULL where the text is no number
	text		TEXT NOT NULL,		-- as printed there: "<1", "2.35"
	PRIMARY KEY (sweep_id, label, quantity)
) STRICT, WITHOUT ROWID;

CREATE TABLE run (
	run_id		INTEGER PRIMARY KEY,
	identity	TEXT NOT NULL UNIQUE,	-- hash of all that can change the numbers
	dir		TEXT NOT NULL UNIQUE,	-- run directory; relative to the database's folder, or absolute
	label		TEXT NOT NULL,		-- the label it was made for
	seed		INTEGER NOT NULL,
	steps		INTEGER,		-- optimiser steps when complete
	state		TEXT NOT NULL DEFAULT 'queued'	-- lost: its process is gone without a word
			CHECK (state IN ('queued', 'running', 'done', 'failed', 'diverged', 'stopped', 'lost')),
	reason		TEXT,			-- why it is in that state, for people
	config		TEXT,			-- config.yaml: complete and resolved
	arch		TEXT,			-- architecture; from here on: what the first attempt told
	data_hash	TEXT,			-- hash of the token files
	data_tokens	INTEGER,		-- in the training split: runs over more see it again
	tokenizer	TEXT,
	vocab		INTEGER,		-- true vocabulary, without padding
	"precision"	TEXT,			-- "f32", "bf16"
	semantics	TEXT,			-- JSON: meaning version of each operator and of the architecture
	params_total	INTEGER,		-- parameters without embedding and head
	params_active	INTEGER,		-- of these, used by one token
	params_embedding INTEGER,		-- of embedding and head
	flops_per_token	REAL,			-- model FLOPs of training, forward and backward
	depends		TEXT			-- beside its own past a token's output depends on: "A" nothing, "B" other
						-- sequences of the batch, "F" its own future; of older runs NULL
) STRICT;

CREATE TABLE member (
	sweep_id	INTEGER NOT NULL REFERENCES sweep ON DELETE CASCADE,
	run_id		INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
	label		TEXT NOT NULL,		-- name of the run's configuration in this sweep
	variant		TEXT NOT NULL,		-- the label without its axis values
	n		INTEGER NOT NULL,	-- place in the sweep, from 1: variants, then points, then seeds
	PRIMARY KEY (sweep_id, run_id, label)	-- equal configurations may have two labels
) STRICT, WITHOUT ROWID;
CREATE INDEX member_of_run ON member(run_id);

CREATE TABLE axis (
	sweep_id	INTEGER NOT NULL REFERENCES sweep ON DELETE CASCADE,
	run_id		INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
	key		TEXT NOT NULL,		-- swept key that applies to this run: "model.moe.n_experts"
	short_key	TEXT NOT NULL,		-- as in labels: "n_experts"
	value		TEXT NOT NULL,		-- as written in YAML
	PRIMARY KEY (sweep_id, run_id, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE param (
	run_id		INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
	key		TEXT NOT NULL,		-- dotted: "train.lr"
	value		ANY,			-- number or text; true and false are text; lists are JSON
	PRIMARY KEY (run_id, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE part (			-- what each part of the model has and costs; none of older runs
	run_id		INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
	part		TEXT NOT NULL,		-- "mixer" (Mamba), "attn", "moe", "ffn", "norm", "embedding", "lm_head"
	params		INTEGER,
	active		INTEGER,		-- of these, used by one token
	flops		REAL,			-- model FLOPs per token of training, forward and backward
	PRIMARY KEY (run_id, part)
) STRICT, WITHOUT ROWID;

CREATE TABLE attempt (
	run_id		INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
	n		INTEGER NOT NULL,	-- from 1; later ones resume from the newest checkpoint
	started		TEXT NOT NULL,
	ended		TEXT,			-- NULL: running or lost
	exit_code	INTEGER,		-- 0 done, 1 failed, 10 diverged, 75 stopped; NULL: by signal
	exit_signal	INTEGER,		-- signal that ended it
	host		TEXT,
	pid		INTEGER,		-- with boot_id and start_time: this process and no other
	boot_id		TEXT,			-- /proc/sys/kernel/random/boot_id
	start_time	INTEGER,		-- clock ticks from boot to the start of the process
	device		TEXT,			-- "cpu", "cuda", ...
	threads		INTEGER,
	jobs		INTEGER,		-- workers side by side, on GPUs for each; above 1 seconds do not compare
	blas		TEXT,			-- library and build
	blas_core	TEXT,			-- kernel set in use, or the GPU; results differ in bits between these
	cpu		TEXT,
	git		TEXT,			-- revision of the source, with "+" if changed
	build		TEXT,			-- compiler and flags
	argv		TEXT,			-- JSON
	memory_planned_bytes	INTEGER,	-- blobs and arena, as planned before step 1
	gpu		TEXT,			-- its UUID, or CUDA_VISIBLE_DEVICES as given; NULL: none, or not known
	PRIMARY KEY (run_id, n),
	UNIQUE (run_id, pid, boot_id, start_time)
) STRICT, WITHOUT ROWID;

CREATE TABLE step (
	run_id		INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
	step		INTEGER NOT NULL,	-- updates done, from 1
	tokens		INTEGER,		-- trained on so far
	seconds		REAL,			-- of training so far, without evaluation and checkpoints
	flops		REAL,			-- model FLOPs so far
	ce		REAL,			-- cross-entropy of this step's batch, before its update
	aux		REAL,			-- weighted sum of auxiliary losses, as added to the loss
	balance		REAL,			-- load-balancing loss, unweighted mean over the routers that chose
	z		REAL,			-- router z-loss, unweighted mean over the routers
	lr		REAL,			-- of the update that made this step
	grad_norm	REAL,			-- before clipping
	clipped		INTEGER,		-- 1: the gradient was scaled down
	tokens_per_s	REAL,			-- of this step
	"drop"		REAL,			-- fraction of routed tokens over capacity
	PRIMARY KEY (run_id, step)
) STRICT, WITHOUT ROWID;

CREATE TABLE eval (
	run_id		INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
	kind		TEXT NOT NULL,		-- "val"; "val_dropless": without capacity, at the end
	step		INTEGER NOT NULL,	-- evaluated after this many updates
	tokens		INTEGER,		-- trained on so far
	seconds		REAL,			-- of training so far
	flops		REAL,			-- model FLOPs so far
	loss		REAL,
	bpb		REAL,			-- bits per byte of text
	accuracy	REAL,			-- fraction of tokens whose best guess is right
	loss_bigram	REAL,			-- over tokens whose pair (previous, this) came earlier in the window
	share_bigram	REAL,			-- fraction of such tokens
	"drop"		REAL,			-- fraction of routed tokens over capacity
	n_tokens	INTEGER,		-- evaluated
	windows		TEXT,			-- hash of the windows evaluated
	capacity	TEXT,			-- capacity factor in force, "rank 2" where experts choose (of older runs
						-- the factor alone), or "cutoff": of scores; "none"; "mixed": routers differ
	choices		REAL,			-- experts computed for a token, mean over routers; of older runs NULL
	unserved	REAL,			-- share of tokens without any, mean over routers; of older runs NULL
	PRIMARY KEY (run_id, kind, step)
) STRICT, WITHOUT ROWID;

CREATE TABLE router (			-- routers in the order of the model; a layer may have several
	run_id		INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
	step		INTEGER NOT NULL,
	router		INTEGER NOT NULL,	-- from 0
	dead		INTEGER,		-- experts without any token
	entropy		REAL,			-- of the router's probabilities, nats, mean over tokens; NULL: it has none
	"drop"		REAL,			-- fraction of routed tokens over capacity
	choices		REAL,			-- experts computed for a token, in the mean; of older runs NULL
	unserved	REAL,			-- share of tokens without any; of older runs NULL
	width		REAL,			-- of the experts computed, over the mean of all; NULL: all are as wide
	importance	REAL,			-- squared coefficient of variation of experts' mean scores; these three whatever
						-- they weigh, NULL where the router has them not, and of older runs
	load_cv2	REAL,			-- the same of loads as noise makes them likely
	mean_entropy	REAL,			-- of experts' mean scores, nats
	PRIMARY KEY (run_id, step, router)
) STRICT, WITHOUT ROWID;

CREATE TABLE expert (
	run_id		INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
	step		INTEGER NOT NULL,
	router		INTEGER NOT NULL,	-- from 0
	expert		INTEGER NOT NULL,	-- from 0
	load		REAL,			-- share of the router's choices that name it, before dropping; 1/E is
						-- even, 0 everywhere: there were none
	PRIMARY KEY (run_id, step, router, expert)
) STRICT, WITHOUT ROWID;

CREATE TABLE mix (			-- layers that mix two paths or pick tokens, in the order of the model
	run_id		INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
	step		INTEGER NOT NULL,
	mix		INTEGER NOT NULL,	-- from 0
	share		REAL,			-- of the first path (the second has the rest); of picked tokens
	spread		REAL,			-- standard deviation over channels that have shares of their own; NULL: all have one
	PRIMARY KEY (run_id, step, mix)
) STRICT, WITHOUT ROWID;

CREATE TABLE state (			-- what training moves by a rule, beside weights, behind the step
	run_id		INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
	step		INTEGER NOT NULL,
	state		TEXT NOT NULL,		-- "layers.1.moe.router.bias", "...threshold", "...capacity", ...
	least		REAL,			-- over its elements
	mean		REAL,
	most		REAL,
	PRIMARY KEY (run_id, step, state)
) STRICT, WITHOUT ROWID;

CREATE TABLE param_group (		-- parameters, by group
	run_id		INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
	step		INTEGER NOT NULL,
	"group"		TEXT NOT NULL,		-- "mixer", "router", "experts", "embedding", ...
	grad_norm	REAL,			-- before clipping
	update_ratio	REAL,			-- norm of the update over weight_norm
	weight_norm	REAL,			-- of the weights after it
	PRIMARY KEY (run_id, step, "group")
) STRICT, WITHOUT ROWID;

CREATE TABLE slice (			-- the loss of an evaluation by classes of its tokens
	run_id		INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
	kind		TEXT NOT NULL,		-- as in eval
	step		INTEGER NOT NULL,	-- as in eval
	"by"		TEXT NOT NULL,		-- "position": tokens of context, the input among them;
						-- "frequency": count of the target in the training split
						-- "recall": 0 other targets; 1: their pair came earlier in the
						-- window (or document) and at most `high` times in that split
	low		INTEGER NOT NULL,	-- the class: from low to high, both included
	high		INTEGER NOT NULL,
	loss		REAL,			-- mean over its tokens
	n_tokens	INTEGER,		-- never 0: an empty class has no row
	PRIMARY KEY (run_id, kind, step, "by", low)
) STRICT, WITHOUT ROWID;

CREATE TABLE recall (			-- answers of a set of examples; of runs on rows of examples
	run_id		INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
	test		TEXT NOT NULL,		-- "val", or the test set's name
	step		INTEGER NOT NULL,	-- after this many updates
	tokens		INTEGER,		-- trained on so far
	length		INTEGER,		-- of the test set's examples, as the task counts it; NULL: mixed
	items		INTEGER,		-- pairs or tokens that they hold; NULL: not counted
	loss		REAL,			-- mean over the tokens asked for; of forecasts squared error
	accuracy	REAL,			-- fraction of the tokens asked for whose best guess is right
	answer_accuracy	REAL,			-- fraction of the answers with every token right
	n_tokens	INTEGER,		-- asked for
	n_answers	INTEGER,
	mae		REAL,			-- of forecasts: mean absolute error
	majority	REAL,			-- accuracy of always the most frequent answer in training
	last_mse	REAL,			-- of always the last value that is known: squared error
	last_mae	REAL,			-- the same: absolute error
	season_mse	REAL,			-- of the value a season before, of the last one that is known
	season_mae	REAL,
	PRIMARY KEY (run_id, test, step)
) STRICT, WITHOUT ROWID;

CREATE TABLE calibration (		-- a step of the run's configuration, timed beside no other run
	run_id		INTEGER PRIMARY KEY REFERENCES run ON DELETE CASCADE,
	seconds_per_step REAL NOT NULL,		-- median
	n_steps		INTEGER,		-- timed
	busy		REAL,			-- share of the processors that other programs took meanwhile
	measured	TEXT NOT NULL,		-- time; the same for all configurations timed in turn
	host		TEXT,
	device		TEXT,
	threads		INTEGER,
	cpu		TEXT,
	blas_core	TEXT,
	git		TEXT,
	build		TEXT
) STRICT;

CREATE TABLE exclusion (		-- runs that tables and plots leave out, on somebody's word
	run_id		INTEGER PRIMARY KEY REFERENCES run ON DELETE CASCADE,
	reason		TEXT NOT NULL
) STRICT;

CREATE TABLE tag (
	run_id		INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
	name		TEXT NOT NULL,
	PRIMARY KEY (run_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE event (
	event_id	INTEGER PRIMARY KEY,	-- in the order of arrival
	run_id		INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
	kind		TEXT NOT NULL,	-- start, resume, checkpoint, diverged, stop, done, failed, warning, sample
	step		INTEGER NOT NULL DEFAULT 0,
	wall		TEXT NOT NULL DEFAULT '',	-- time
	text		TEXT NOT NULL DEFAULT '',
	UNIQUE (run_id, wall, kind, step, text)
) STRICT;

CREATE TABLE taken (			-- how far a run's files are taken in: a look reads what is new alone
	run_id		INTEGER PRIMARY KEY REFERENCES run ON DELETE CASCADE,
	inode		INTEGER NOT NULL,	-- of metrics.jsonl; 0: there was none
	size		INTEGER NOT NULL,	-- of it, at the last look
	bytes		INTEGER NOT NULL,	-- of it, in whole lines that are taken in
	changed		INTEGER NOT NULL	-- last change of the run directory, ns since 1970; 0: look again
) STRICT;

CREATE TABLE taken_sweep (		-- the same of ROOT/sweeps/NAME.json, which is read whole
	sweep_id	INTEGER PRIMARY KEY REFERENCES sweep ON DELETE CASCADE,
	inode		INTEGER NOT NULL,
	size		INTEGER NOT NULL,
	changed		INTEGER NOT NULL
) STRICT;

-- Where runs stand: one row per sweep and run; a run that is in no sweep (any more) has sweep NULL.
CREATE VIEW place AS
SELECT w.name AS sweep, m.label, m.variant, m.n, m.run_id
FROM sweep w JOIN member m ON m.sweep_id = w.sweep_id
UNION ALL
SELECT NULL, r.label, r.label, NULL, r.run_id
FROM run r WHERE NOT EXISTS (SELECT 1 FROM member m WHERE m.run_id = r.run_id);

-- One row per place and run: what it is, how far it is, how well it does. A run that is in two sweeps
-- has two rows: GROUP BY run_id where sweeps do not matter.
CREATE VIEW runs AS
SELECT	p.sweep, p.label, p.variant, r.seed, p.n,
	r.run_id, r.identity, r.dir, r.state, r.reason,
	r.arch, r.steps,
	s.step, s.tokens, s.seconds, s.flops,	-- so far
	s.ce AS train_loss,			-- of the last step
	v.loss,					-- last validation; of forecasts the mean squared error
	CASE WHEN NOT EXISTS (SELECT 1 FROM param h WHERE h.run_id = r.run_id AND h.key = 'model.head'
		AND h.value = 'forecast') THEN exp(v.loss) END AS perplexity,
	v.bpb, v.accuracy, v.step AS loss_step, v.windows, v.n_tokens AS eval_tokens,
	(SELECT loss FROM eval d WHERE d.run_id = r.run_id AND d.kind = 'val_dropless'
		ORDER BY d.step DESC LIMIT 1) AS loss_dropless,
	s."drop",
	s.tokens / nullif(s.seconds, 0) AS tokens_per_s,	-- mean
	r.params_total, r.params_active, r.params_embedding, r.flops_per_token,
	r.data_hash, r.data_tokens, r.tokenizer, r.vocab, r."precision", r.semantics,
	a.n AS attempts, a.started, a.ended, a.host, a.device, a.threads, a.jobs,
	a.blas, a.blas_core, a.cpu, a.git, a.build, a.memory_planned_bytes,	-- of the last attempt
	(SELECT e.reason FROM exclusion e WHERE e.run_id = r.run_id) AS excluded,	-- why; NULL: it counts
	(SELECT group_concat(name, ' ') FROM (SELECT name FROM tag t WHERE t.run_id = r.run_id
		ORDER BY name)) AS tags
FROM place p
JOIN run r ON r.run_id = p.run_id
LEFT JOIN step s ON s.run_id = r.run_id
	AND s.step = (SELECT max(step) FROM step WHERE run_id = r.run_id)
LEFT JOIN eval v ON v.run_id = r.run_id AND v.kind = 'val'
	AND v.step = (SELECT max(step) FROM eval WHERE run_id = r.run_id AND kind = 'val')
LEFT JOIN attempt a ON a.run_id = r.run_id
	AND a.n = (SELECT max(n) FROM attempt WHERE run_id = r.run_id);

-- Every loss: kind "train" (each step's own batch), "val", "val_dropless".
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
