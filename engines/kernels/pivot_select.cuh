// ClaspPivotSelect: the most salient tokens of each image (Eq. 12).
#pragma once

#include "rank.cuh"

// Smaller keys are more salient. NaN is minus infinity, and the zeros are equal.
__device__ inline unsigned saliency_key(float saliency) {
    const unsigned sign = 0x80000000u, minus_infinity = 0xff800000u;
    const unsigned bits = saliency == saliency ? __float_as_uint(saliency + 0.0f) : minus_infinity;
    return bits & sign ? bits : ~(bits | sign);
}

// Marks tokens whose rank is below the image's pivot_count. A block ranks 32 tokens, one per warp at a time.
CLASP_KERNEL(1024)
clasp_pivot_select(const float* __restrict__ saliency, const int64* __restrict__ pivot_count, uint8* pivots, int batch,
                   int tokens, int keep) {
    CLASP_DYNAMIC_SHARED(unsigned, keys);
    const int tiles = ceil_div(tokens, kWarp);
    for (int item = blockIdx.x; item < batch * tiles; item += gridDim.x) {
        const int image = item / tiles, first = item % tiles * kWarp;
        for (int token = threadIdx.x; token < tokens; token += blockDim.x) {
            keys[token] = saliency_key(saliency[image * tokens + token]);
        }
        __syncthreads();
        const int64 count = pivot_count[image] < keep ? pivot_count[image] : keep;
        const int end = first + kWarp < tokens ? first + kWarp : tokens;
        for (int token = first + warp_id(); token < end; token += warp_count()) {
            const int rank = rank_of(token, keys, tokens);
            if (lane_id() == 0) pivots[image * tokens + token] = rank < count;
        }
        __syncthreads();  // before the next item overwrites the keys
    }
}
