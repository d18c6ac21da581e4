/* Field tables of the parts that architectures are made of: keys, defaults, ranges, help. */
#ifndef ARCH_FIELDS_H
#define ARCH_FIELDS_H

#include "nn/attn.h"
#include "nn/ffn.h"
#include "nn/gdn.h"
#include "nn/lookup.h"
#include "nn/mamba.h"
#include "nn/mamba2.h"
#include "nn/mamba3.h"
#include "nn/mix.h"
#include "nn/mod.h"
#include "nn/moe.h"
#include "nn/net.h"
#include "spec/field.h"

extern const struct field_table skeleton_fields;	/* struct skeleton */
extern const struct field_table ssm_fields;		/* struct ssm_spec */
extern const struct field_table mamba2_fields;		/* struct mamba2_spec */
extern const struct field_table mamba3_fields;		/* struct mamba3_spec */
extern const struct field_table gdn_fields;		/* struct gdn_spec */
extern const struct field_table attn_fields;		/* struct attn_spec */
extern const struct field_table ffn_fields;		/* struct ffn_spec */
extern const struct field_table moe_fields;		/* struct moe_spec */
extern const struct field_table inner_fields;		/* struct inner_spec */
extern const struct field_table mix_fields;		/* struct mix_spec */
extern const struct field_table mod_fields;		/* struct mod_spec */
extern const struct field_table xattn_fields;		/* struct xattn_spec */
extern const struct field_table local_fields;		/* struct local_spec */

const struct field *moe_field(const char *key);		/* the row of moe_fields; there must be one */

#endif
