/* Products over segments by wgmma. */
#include "op/cuda/grouped_tile.cuh"
#include "op/cuda/wgmma_tile.cuh"

extern "C" void grouped_product_wgmma(const struct op_run *r, const struct grouped *g)
{
	grouped_launch<wgmma_tile>(r, g);
}

extern "C" bool grouped_has_wgmma(const struct queue *q)
{
#if defined(__CUDACC__) && !defined(WITH_SM_90A)
	const bool built = false;
#else
	const bool built = true;
#endif
	return built && q->capability == 90;
}
