/* Conditions between keys that several architectures share. 0, or -1 after a message. */
#ifndef ARCH_CHECK_H
#define ARCH_CHECK_H

#include "nn/attn.h"
#include "nn/gdn.h"
#include "nn/mamba.h"
#include "nn/moe.h"
#include "nn/mamba2.h"
#include "nn/mamba3.h"
#include "spec/config.h"

/* Called by model_open(), as check_mamba2() is, but for layers of a pattern. */
int check_heads(const struct config *c, const struct skeleton *s, const struct attn_spec *attn);
/* The same where queries are `width` channels wide, which the message calls `what`. */
int check_heads_in(const struct config *c, const struct attn_spec *attn, const char *what, long width);

/* Mixtures in place of projections: some, and with one router all of them dropless. */
int check_inner(const struct config *c, const struct inner_spec *inner, const struct moe_spec *moe);
/* The inner width must not round to nothing, and step sizes begin between dt_min and dt_max. Called by
   model_open() for the keys of every architecture that has them. */
int check_ssm(const struct config *c, const struct skeleton *s, const struct ssm_spec *ssm);
/* Channels must divide into heads and heads into groups; ranges of initial values are in order. */
int check_mamba2(const struct config *c, const struct skeleton *s, const struct mamba2_spec *m);
/* The same, and that some states turn. */
int check_mamba3(const struct config *c, const struct skeleton *s, const struct mamba3_spec *m);

/* Ranges of initial values are in order. */
int check_gdn(const struct config *c, const struct gdn_spec *g);

/* Input, pooling and head must go together, and with what else asks for tokens. Called as check_ssm() is, for all. */
int check_ends(const struct config *c, const struct skeleton *s);

/* The rules of a mixture must go together. Called as check_ssm() is. */
int check_moe(const struct config *c, const struct moe_spec *moe);
/* And none of its keys may be without effect, or beyond what there is, but in configs of runs that are there already
   (c->stored). Of a pattern's entries that have mixtures, else of the model; entry: its keys, NULL without. */
int check_effect(const struct config *c, const struct moe_spec *moe, const struct node *entry, struct arena *a);
/* The same of the keys of another table, into the struct `part`. */
int check_part_effect(const struct config *c, const struct field_table *table, const void *part,
	const struct node *entry, struct arena *a);
/* Likewise model.ssm.d_conv, of a Mamba layer that has something else in place of its convolution. */
int check_no_conv(const struct config *c, const struct ssm_spec *ssm, const struct node *entry, struct arena *a);
/* Likewise all keys of a table, into the struct `part`, that no layer of a pattern reads; moe: the model's. */
int check_unread(const struct config *c, const struct field_table *table, const void *part,
	const struct moe_spec *moe, struct arena *a);

#endif
