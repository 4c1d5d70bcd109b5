// What remains of a sequence after a selection: hidden states and positions of the kept rows, the new places of the
// kept tokens and of the reference rows, and the Gram matrix of the kept tokens.
//
// Lists of indices that are not as promised give wrong rows, and no access outside of a tensor: searches stay within the
// lists, a row whose new place is none is left out, and what is an index afterwards is a legal one.
#pragma once

#include "block.cuh"

// Number of entries of an ascending list that are less than `value`.
__device__ inline int lower_bound(const int* ascending, int count, int value) {
    int low = 0;
    while (count > 0) {
        const int half = count / 2;
        if (ascending[low + half] < value) {
            low += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return low;
}

struct RowFate {
    int visual;   // visual tokens in rows before this one
    int kept;     // of them, kept ones
    bool stays;
    bool is_visual;
    __device__ int new_row(int row) const { return row - (visual - kept); }
};

__device__ inline RowFate fate_of_row(int row, const int* visual_rows, int tokens, const int* kept, int keep) {
    const int visual = lower_bound(visual_rows, tokens, row);
    const int kept_before = lower_bound(kept, keep, visual);
    const bool is_visual = visual < tokens && visual_rows[visual] == row;
    return {visual, kept_before, !is_visual || (kept_before < keep && kept[kept_before] == visual), is_visual};
}

// Copies `size` bytes by one warp, in units as large as the size allows; tensors are aligned.
template <typename Unit>
__device__ inline void copy_units(const uint8* from, uint8* to, int size) {
    const Unit* source = reinterpret_cast<const Unit*>(from);
    Unit* target = reinterpret_cast<Unit*>(to);
    for (int i = lane_id(); i < size / static_cast<int>(sizeof(Unit)); i += kWarp) target[i] = source[i];
}

struct __align__(16) Vector {
    uint64 halves[2];
};

// A warp moves one row at a time to where it belongs.
CLASP_KERNEL(256)
clasp_prune_rows(const uint8* __restrict__ hidden, const int64* __restrict__ positions,
                 const int64* __restrict__ visual_index, const int64* __restrict__ kept_index,
                 const int64* __restrict__ references, uint8* hidden_out, int64* positions_out, int64* visual_out,
                 int64* references_out, int sequence, int tokens, int keep, int reference_count, int row_bytes) {
    CLASP_DYNAMIC_SHARED(int, visual_rows);
    int* kept = visual_rows + tokens;
    const int rows_left = sequence - tokens + keep;
    for (int i = threadIdx.x; i < tokens; i += blockDim.x) visual_rows[i] = static_cast<int>(visual_index[i]);
    for (int i = threadIdx.x; i < keep; i += blockDim.x) kept[i] = static_cast<int>(kept_index[i]);
    __syncthreads();
    for (int row = blockIdx.x * warp_count() + warp_id(); row < sequence; row += gridDim.x * warp_count()) {
        const RowFate fate = fate_of_row(row, visual_rows, tokens, kept, keep);
        const int new_row = fate.new_row(row);
        if (!fate.stays || new_row < 0 || new_row >= rows_left) continue;
        const uint8* from = hidden + static_cast<int64>(row) * row_bytes;
        uint8* to = hidden_out + static_cast<int64>(new_row) * row_bytes;
        if (row_bytes % 16 == 0) {
            copy_units<Vector>(from, to, row_bytes);
        } else {
            copy_units<uint16>(from, to, row_bytes);
        }
        if (lane_id() == 0) {
            positions_out[new_row] = positions[row];
            if (fate.is_visual) visual_out[fate.kept] = new_row;
        }
    }
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < reference_count; i += gridDim.x * blockDim.x) {
        const int row = within(references[i], sequence);
        references_out[i] = within(fate_of_row(row, visual_rows, tokens, kept, keep).new_row(row), rows_left);
    }
}

// One row of the kept tokens' matrix per block and round.
CLASP_KERNEL(256)
clasp_narrow_gram(const float* __restrict__ gram, const int64* __restrict__ kept, float* gram_out, int batch,
                  int tokens, int keep) {
    for (int item = blockIdx.x; item < batch * keep; item += gridDim.x) {
        const int64* stays = kept + item / keep * keep;
        const int64 row = static_cast<int64>(item / keep) * tokens + within(kept[item], tokens);
        for (int column = threadIdx.x; column < keep; column += blockDim.x) {
            gram_out[static_cast<int64>(item) * keep + column] = gram[row * tokens + within(stays[column], tokens)];
        }
    }
}
