/* Products over segments by mma.sync. */
#include "op/cuda/grouped_tile.cuh"

template <bool a_row, bool b_row>
using grouped_mma =
	mma_tile<GROUPED_ROWS, GROUPED_COLUMNS, 64, 64, 64, 4, 1, 1, a_row, b_row, false, b_row>;

extern "C" void grouped_product_mma(const struct op_run *r, const struct grouped *g)
{
	grouped_launch<grouped_mma>(r, g);
}
