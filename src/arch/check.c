#include "arch/check.h"

#include "base/error.h"

int check_heads(const struct config *c, const struct skeleton *s, const struct attn_spec *attn)
{
	long heads = attn_heads(attn, s->d_model);

	if (s->d_model % heads || s->d_model / heads % 2)
		return error("%s: model.attn.n_heads %ld must divide model.d_model %ld into heads of even "
			"width", c->file, heads, s->d_model);
	return 0;
}
