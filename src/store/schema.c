/* schema.sql, in the program. */
#include <stddef.h>

#include "store/db.h"

__asm__(".pushsection .rodata\n"
	".global db_schema\n"
	".type db_schema, @object\n"
	"db_schema: .incbin \"store/schema.sql\"\n"
	".byte 0\n"
	".size db_schema, . - db_schema\n"
	".popsection\n");

const char *const db_migrations[] = {NULL};
