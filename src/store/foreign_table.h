/*
 * Inside foreign curves: the rows of a file as they stand there. foreign_read.c reads them from CSV
 * or JSON lines, foreign_points.c brings them in order of step and judges them.
 */
#ifndef STORE_FOREIGN_TABLE_H
#define STORE_FOREIGN_TABLE_H

#include "base/hash.h"
#include "store/foreign.h"

/* A value: NaN where it is absent, infinite where it is there and not finite (NaN, too). */
struct foreign_row {
	double value[N_FOREIGN_COLUMNS];
	int line, column[N_FOREIGN_COLUMNS];	/* its place, from 1; column 1 where it is absent */
};

struct foreign_table {
	const struct foreign *f;
	const char *name[N_FOREIGN_COLUMNS];	/* of the columns in the file; in the arena */
	struct foreign_row *rows;		/* all that have a step; freed by the caller */
	int n, cap;
	char hash[HASH_HEX];			/* of the file's content */
	struct arena arena;
};

/* 0, or -1 after a message that names the place. */
int foreign_table_read(struct foreign_table *t);

#endif
