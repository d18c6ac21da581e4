
-- What `moelab bench` measured; the same stands in bench.jsonl beside the database, from which
-- `moelab ingest` has it. Public interface: the views `benches` and `bench_change`.
CREATE TABLE bench (			-- one call of the program
	bench_id	INTEGER PRIMARY KEY,
	wall		TEXT NOT NULL,		-- time of its end
	host		TEXT NOT NULL,
	pid		INTEGER NOT NULL,
	cpu		TEXT,
	blas_core	TEXT,			-- kernel set in use
	git		TEXT,			-- revision of the source, with "+" if changed
	build		TEXT,			-- compiler and flags
	device		TEXT NOT NULL,
	threads		INTEGER NOT NULL,
	load		REAL,			-- load average when it began: above 0 others were at work
	UNIQUE (host, wall, pid)
) STRICT;

CREATE TABLE measure (
	bench_id	INTEGER NOT NULL REFERENCES bench ON DELETE CASCADE,
	kind		TEXT NOT NULL,		-- "op", "step", "scale", "generate", "ceiling"
	name		TEXT NOT NULL,		-- operator, or spec with its changed keys
	shape		TEXT NOT NULL,		-- of the operator's inputs, or of what was varied
	metric		TEXT NOT NULL,		-- "forward_ms": less is better; "tokens_per_s": more is,
						-- as in all that end in "_per_s"
	value		REAL,
	PRIMARY KEY (bench_id, kind, name, shape, metric)
) STRICT, WITHOUT ROWID;

-- Every figure with its circumstances.
CREATE VIEW benches AS
SELECT	b.wall, b.host, b.cpu, b.blas_core, b.git, b.build, b.device, b.threads, b.load,
	m.kind, m.name, m.shape, m.metric, m.value, m.bench_id
FROM bench b JOIN measure m ON m.bench_id = b.bench_id;

-- The last figure of each thing against the one before, on the same host, processor, device and number
-- of threads. worse: ratio of the two, above 1 where the last is the worse one.
CREATE VIEW bench_change AS
SELECT	kind, name, shape, metric, value, previous,
	CASE WHEN metric LIKE '%\_per\_s' ESCAPE '\' THEN previous / nullif(value, 0)
		ELSE value / nullif(previous, 0) END AS worse,
	wall, previous_wall, git, previous_git, load, previous_load,
	host, cpu, device, threads
FROM (SELECT *, row_number() OVER (PARTITION BY host, cpu, device, threads, kind, name, shape, metric
		ORDER BY wall DESC, bench_id DESC) AS age,
	lag(value) OVER earlier AS previous, lag(wall) OVER earlier AS previous_wall,
	lag(git) OVER earlier AS previous_git, lag(load) OVER earlier AS previous_load
	FROM benches
	WINDOW earlier AS (PARTITION BY host, cpu, device, threads, kind, name, shape, metric
		ORDER BY wall, bench_id))
WHERE age = 1 AND previous IS NOT NULL;
