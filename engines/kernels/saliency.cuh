// Attention that each visual token receives, averaged over heads and reference rows (Eqs. 4, 32-33).
#pragma once

#include "formats.cuh"

// Sums value(image, row, column) over `parts` equal runs of rows to out [image][part][column], and divides by
// `divisor`. A block owns 32 columns of one run. Its warps share out the rows; their sums are added in their order.
template <typename Value>
__device__ inline void column_sum(Value value, float* out, int batch, int rows, int columns, int parts, int divisor) {
    CLASP_SHARED(float, sum_of_warp, kMaxWarps* kWarp);
    const int tiles = ceil_div(columns, kWarp), rows_of_part = ceil_div(rows, parts);
    for (int item = blockIdx.x; item < batch * parts * tiles; item += gridDim.x) {
        const int column = item % tiles * kWarp + lane_id(), part = item / tiles % parts;
        const int image = item / (tiles * parts), end = min((part + 1) * rows_of_part, rows);
        float sum = 0.0f;
        if (column < columns) {
#pragma unroll 4
            for (int row = part * rows_of_part + warp_id(); row < end; row += warp_count()) {
                sum += value(image, row, column);
            }
        }
        sum_of_warp[threadIdx.x] = sum;
        __syncthreads();
        if (warp_id() == 0 && column < columns) {
            for (int warp = 1; warp < warp_count(); ++warp) sum += sum_of_warp[warp * kWarp + lane_id()];
            out[(static_cast<int64>(image) * parts + part) * columns + column] = __fdiv_rn(sum, divisor);
        }
        __syncthreads();  // before the next item overwrites sum_of_warp
    }
}

#define CLASP_SALIENCY_KERNEL(Format, suffix)                                                                        \
    CLASP_KERNEL(1024)                                                                                               \
    clasp_column_sum_##suffix(const Format::Item* __restrict__ x, float* out, int batch, int rows, int columns,      \
                              int parts, int divisor) {                                                              \
        const auto value = [=](int image, int row, int column) {                                                     \
            return Format::to_float(x[(static_cast<int64>(image) * rows + row) * columns + column]);                 \
        };                                                                                                           \
        column_sum(value, out, batch, rows, columns, parts, divisor);                                                \
    }
CLASP_SALIENCY_KERNEL(Half, fp16)
CLASP_SALIENCY_KERNEL(Bfloat, bf16)
CLASP_SALIENCY_KERNEL(Float, fp32)
