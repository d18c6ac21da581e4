/* The operands of the scan's CUDA kernels: op/cuda/scan.cuh. */
#include "op/cuda/scan.cuh"

namespace {

template <typename element>
gradient<element> gradient_of(const struct op_run *r, int input)
{
	const struct tensor *t = r->d_in[input];

	return {t ? (element *)t->at : NULL, t ? t->ld : 0, op_adds(r, input)};
}

float *take(float **at, long n)
{
	float *from = *at;

	*at += n;
	return n ? from : NULL;
}

/* The workspace as op/cuda/scan_room.c counts it. */
template <typename real>
void place_workspace(scan<real> &s, const struct op_run *r)
{
	float *at = (float *)r->workspace;
	bool backward = r->d_out[SCAN_Y_BTI];

	if (backward) {	/* first what is read four at a time */
		s.bc = take(&at, scan_bc_floats(&s.n));
		s.parameters = take(&at, scan_parameters_floats(&s.n));
	}
	s.ends = take(&at, scan_ends_floats(&s.n));
	s.steps = take(&at, scan_steps_floats(&s.n));
	s.walkers = take(&at, backward
		? scan_walkers_floats(&s.n, s.n.n_backward_blocks, SCAN_BACKWARD_THREADS)
		: scan_walkers_floats(&s.n, s.n.n_blocks, SCAN_FORWARD_THREADS));
}

template <typename real>
void place_gradients(scan<real> &s, const struct op_run *r)
{
	s.dy = rows_of<const real>(r->d_out[SCAN_Y_BTI]);
	s.du = gradient_of<real>(r, SCAN_U_BTI);
	s.ddtraw = gradient_of<real>(r, SCAN_DTRAW_BTI);
	s.db = gradient_of<real>(r, SCAN_B_BTN);
	s.dc = gradient_of<real>(r, SCAN_C_BTN);
	s.dz = gradient_of<real>(r, SCAN_Z_BTI);
	s.da_log = gradient_of<float>(r, SCAN_ALOG_IN);
	s.dd = gradient_of<float>(r, SCAN_D_I);
	s.ddt_bias = gradient_of<float>(r, SCAN_DTBIAS_I);
}

}  // namespace

template <typename real>
scan<real> scan_of(const struct op_run *r)
{
	scan<real> s = {};

	s.n = scan_sizes(scan_dims(r->in));
	s.u = rows_of<const real>(r->in[SCAN_U_BTI]);
	s.dtraw = rows_of<const real>(r->in[SCAN_DTRAW_BTI]);
	s.b = rows_of<const real>(r->in[SCAN_B_BTN]);
	s.c = rows_of<const real>(r->in[SCAN_C_BTN]);
	s.z = rows_of<const real>(r->in[SCAN_Z_BTI]);
	s.a_log = rows_of<const float>(r->in[SCAN_ALOG_IN]);
	s.d = rows_of<const float>(r->in[SCAN_D_I]);
	s.dt_bias = rows_of<const float>(r->in[SCAN_DTBIAS_I]);
	s.start = rows_of<const int>(r->in[SCAN_START_BT]);
	s.carried = rows_of<float>(r->in[SCAN_H_BIN]);
	s.y = rows_of<real>(r->out[SCAN_Y_BTI]);
	s.states = rows_of<real>(r->saved[SCAN_STATES]).at;
	s.ungated = rows_of<real>(r->saved[SCAN_UNGATED]).at;
	place_gradients(s, r);
	place_workspace(s, r);
	return s;
}

template scan<float> scan_of<float>(const struct op_run *r);
template scan<bf16> scan_of<bf16>(const struct op_run *r);

bool scan_aligned(const struct op_run *r)
{
	size_t bytes = r->device->bytes[REAL];
	const struct tensor *const list[] = {r->in[SCAN_U_BTI], r->in[SCAN_DTRAW_BTI],
		r->in[SCAN_B_BTN], r->in[SCAN_C_BTN], r->in[SCAN_Z_BTI], r->d_out[SCAN_Y_BTI],
		r->d_in[SCAN_U_BTI], r->d_in[SCAN_DTRAW_BTI], r->d_in[SCAN_Z_BTI]};

	for (const struct tensor *t : list)
		if (!aligned8(t, bytes))
			return false;
	return true;
}
