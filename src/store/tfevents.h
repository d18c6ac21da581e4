/*
 * TensorBoard's event files: scalars by tag and step. A file is a sequence of records (length,
 * masked CRC-32C of it, data, masked CRC-32C of that); the data is a protocol buffer, of which
 * scalars need so little that it is written by hand: Event {1: wall time, 2: step, 3: file
 * version, 5: Summary {1: Value
 * {1: tag, 2: value}}} (tensorflow/core/util/event.proto, framework/summary.proto).
 */
#ifndef STORE_TFEVENTS_H
#define STORE_TFEVENTS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* A new file in the folder (made if need be), so named that TensorBoard finds it; NULL: failed. */
FILE *tfevents_open(const char *folder, double wall_s);
void tfevents_scalar(FILE *f, double wall_s, long long step, const char *tag, double value);
int tfevents_close(FILE *f, const char *folder);	/* -1 after a message: not all is written */

uint32_t crc32c(const void *bytes, size_t n);		/* Castagnoli, reflected 0x82F63B78 */

#endif
