/* What runs were computed with; may differ between rows, which is then said. */
#ifndef STUDY_PROVENANCE_H
#define STUDY_PROVENANCE_H

#include "study/study.h"

struct provenance {
	const char *what;
	size_t member;	/* of struct run_data, a text; NULL there: not known */
};
extern const struct provenance provenances[];	/* ended by what NULL */

/* A note of each in which runs differ, with all values; of builds the options alone that not all have. */
void note_provenances(struct study *s);

#endif
