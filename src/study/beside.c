#include "study/beside.h"

#include <math.h>

/* Attempts, in days. One that ended without a word lasts to the last time that its run told, or is still at work. */
#define SPANS \
	"WITH told AS (SELECT a.*, state, (SELECT min(x.started) FROM attempt x WHERE x.run_id = a.run_id" \
	" AND x.n > a.n) AS next FROM attempt a JOIN run USING (run_id))," \
	" span AS (SELECT run_id, boot_id, iif(device IN ('cuda', 'cuda_f32'), gpu, 'cpu') AS place," \
	" julianday(started) AS low, julianday(coalesce(ended," \
	" CASE WHEN next IS NULL AND state = 'running' THEN 'now' END," \
	" (SELECT max(wall) FROM event e WHERE e.run_id = told.run_id AND wall < coalesce(next, 'Z')))) AS high" \
	" FROM told)"

int beside_count(struct study *s)
{
	struct db_statement row;

	db_prepare(&row, s->db, SPANS ", own AS (SELECT *, sum(high - low) OVER (PARTITION BY run_id) AS all_days"
		" FROM span WHERE run_id IN (SELECT run_id FROM member WHERE sweep_id IN"
		" (SELECT value FROM json_each(:sweeps))))"
		" SELECT a.run_id, sum(min(a.high, b.high) - max(a.low, b.low)) / all_days FROM own a JOIN span b"
		" ON b.boot_id = a.boot_id AND b.place = a.place AND b.run_id <> a.run_id AND b.low < a.high"
		" AND b.high > a.low GROUP BY a.run_id");
	db_bind_text(&row, ":sweeps", s->sweep_ids);
	while (db_step(&row))
		for (int i = 0; i < s->n_runs; i++)
			if (s->runs[i].id == db_int(&row, 0))
				s->runs[i].jobs = fmax(s->runs[i].jobs, 1 + ceil(db_real(&row, 1) - 1e-6));
	return db_finish(&row);
}
