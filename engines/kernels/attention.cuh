// Saliency from queries and keys, without a full attention matrix: scores of the reference rows alone, the softmax of
// each over the slots that it sees, and the mean weight in the columns of the visual tokens (Eqs. 4, 32-33).
//
// Row r of all is reference r % references of head r / references; `scores` is [row][slot], `softmax` [row]
// its largest score and the reciprocal of its sum. A reference row i sees slots up to write_index + i.
//
// Indices are taken as the nearest legal ones: reference rows of the sequence, slots that it fills, so none of them leads
// outside of a tensor or to scores that nobody wrote.
#pragma once

#include "saliency.cuh"
#include "tiles.cuh"

struct SoftmaxOfRow {
    float largest, scale_of_weights;
};

// How many slots a reference row sees: no more than the sequence fills of the cache.
__device__ inline int slots_seen(const int64* references, int reference, const int64* write_index, int sequence,
                                 int capacity) {
    return within(*write_index, capacity - sequence + 1) + within(references[reference], sequence) + 1;
}

// Tiles of 64 rows of one key head, which the queries of several heads may share, by 64 slots.
template <typename Format>
__device__ inline void reference_scores(const typename Format::Item* __restrict__ query,
                                        const typename Format::Item* __restrict__ key,
                                        const int64* __restrict__ references, const int64* __restrict__ write_index,
                                        float* scores, int heads, int key_heads, int head_size, int sequence,
                                        int capacity, int reference_count) {
    constexpr int kTile = 64;
    CLASP_SHARED(Chunk, slab_rows, 2 * kTile * kStrideChunks);
    const int slots = within(*write_index, capacity - sequence + 1) + sequence;
    const int rows = heads / key_heads * reference_count;  // of one key head
    const int row_tiles = ceil_div(rows, kTile), slot_tiles = ceil_div(slots, kTile);
    const float scale = __fdiv_rn(1.0f, __fsqrt_rn(head_size));
    for (int item = blockIdx.x; item < key_heads * row_tiles * slot_tiles; item += gridDim.x) {
        const int first_slot = item % slot_tiles * kTile, first_row = item / slot_tiles % row_tiles * kTile;
        const int key_head = item / (slot_tiles * row_tiles);
        const auto row_of = [&](int number) {
            ScaledRow<Format> found = {nullptr, 1.0f};
            if (number < kTile && first_row + number < rows) {
                const int row = key_head * rows + first_row + number;
                const int64 place = row / reference_count * static_cast<int64>(sequence);
                found.items = query + (place + within(references[row % reference_count], sequence)) * head_size;
            } else if (number >= kTile && first_slot + number - kTile < slots) {
                const int64 place = static_cast<int64>(key_head) * capacity + first_slot + number - kTile;
                found.items = key + place * head_size;
            }
            return found;
        };
        WarpSums sums = {};
        multiply_rows<Format, kTile>(sums, slab_rows, row_of, head_size, 0, slab_count<Format>(head_size));
        for_each_sum<kTile>(sums, [&](int row, int column, float sum) {
            if (first_row + row < rows && first_slot + column < slots) {
                const int64 place = static_cast<int64>(key_head * rows + first_row + row) * capacity;
                scores[place + first_slot + column] = sum * scale;
            }
        });
    }
}

// One warp per row.
CLASP_KERNEL(256)
clasp_reference_softmax(const float* __restrict__ scores, const int64* __restrict__ references,
                        const int64* __restrict__ write_index, SoftmaxOfRow* softmax, int rows, int sequence,
                        int capacity, int reference_count) {
    for (int row = blockIdx.x * warp_count() + warp_id(); row < rows; row += gridDim.x * warp_count()) {
        const int seen = slots_seen(references, row % reference_count, write_index, sequence, capacity);
        const float* of_row = scores + static_cast<int64>(row) * capacity;
        float largest = -3.40282347e38f, sum = 0.0f;
        for (int slot = lane_id(); slot < seen; slot += kWarp) largest = fmaxf(largest, of_row[slot]);
        for (int offset = kWarp / 2; offset > 0; offset /= 2) {
            largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, offset));
        }
        for (int slot = lane_id(); slot < seen; slot += kWarp) sum += expf(of_row[slot] - largest);
        for (int offset = kWarp / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(kAllLanes, sum, offset);
        if (lane_id() == 0) softmax[row] = {largest, __fdiv_rn(1.0f, sum)};
    }
}

// Sums of the weights that visual tokens receive, over runs of rows.
CLASP_KERNEL(1024)
clasp_reference_weights(const float* __restrict__ scores, const SoftmaxOfRow* __restrict__ softmax,
                        const int64* __restrict__ references, const int64* __restrict__ visual_index,
                        const int64* __restrict__ write_index, float* out, int rows, int tokens, int sequence,
                        int capacity, int reference_count, int parts) {
    const auto weight = [=](int, int row, int token) {
        const int slot = within(visual_index[token], capacity);
        if (slot >= slots_seen(references, row % reference_count, write_index, sequence, capacity)) return 0.0f;
        const float score = scores[static_cast<int64>(row) * capacity + slot];
        return expf(score - softmax[row].largest) * softmax[row].scale_of_weights;
    };
    column_sum(weight, out, 1, rows, tokens, parts, 1);
}

#define CLASP_SCORES_KERNEL(Format, suffix)                                                                           \
    CLASP_KERNEL(128)                                                                                                 \
    clasp_reference_scores_##suffix(const Format::Item* query, const Format::Item* key, const int64* references,     \
                                    const int64* write_index, float* scores, int heads, int key_heads,                \
                                    int head_size, int sequence, int capacity, int reference_count) {                 \
        reference_scores<Format>(query, key, references, write_index, scores, heads, key_heads, head_size, sequence,  \
                                 capacity, reference_count);                                                          \
    }
CLASP_SCORES_KERNEL(Half, fp16)
CLASP_SCORES_KERNEL(Bfloat, bf16)
CLASP_SCORES_KERNEL(Float, fp32)
