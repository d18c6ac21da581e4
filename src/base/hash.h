/* XXH3, 128 bits (libxxhash): run identity, data files, checkpoints. Not cryptographic. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

enum { HASH_HEX = 33 };		/* 32 digits and the terminator */

struct hash;			/* a running hash; opened, fed, closed */
struct hash *hash_open(void);
void hash_add(struct hash *h, const void *bytes, size_t n);
void hash_close(struct hash *h, char hex[HASH_HEX]);	/* writes the digest, frees h */

void hash_bytes(const void *bytes, size_t n, char hex[HASH_HEX]);
int hash_file(const char *path, char hex[HASH_HEX]);	/* 0, or -1 after a message */
uint64_t hash_u64(const char *text);			/* 64 bits of a name: RNG streams */

#endif
