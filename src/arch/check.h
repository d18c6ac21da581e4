/* Conditions between keys that several architectures share. 0, or -1 after a message. */
#ifndef ARCH_CHECK_H
#define ARCH_CHECK_H

#include "nn/attn.h"
#include "spec/config.h"

int check_heads(const struct config *c, const struct skeleton *s, const struct attn_spec *attn);

#endif
