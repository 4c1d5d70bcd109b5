// Products of rows with rows, in square tiles: what a Gram matrix and attention scores have in common.
#pragma once

#include "formats.cuh"

template <typename Format>
struct ScaledRow {
    const typename Format::Item* items;  // null: a row of zeros
    float factor;
};

// 16 bytes of a row from element k on, scaled; zeros beyond its end. Rows are aligned if their size allows it.
template <typename Format>
__device__ inline Chunk load_chunk(ScaledRow<Format> row, int k, int width, bool aligned) {
    typedef typename Format::Item Item;
    constexpr int kItems = 16 / sizeof(Item);
    Chunk chunk = {{0, 0, 0, 0}};
    Item* items = reinterpret_cast<Item*>(chunk.words);
    if (row.items == nullptr) return chunk;
    if (aligned && k + kItems <= width) {
        chunk = *reinterpret_cast<const Chunk*>(row.items + k);
    } else {
#pragma unroll
        for (int i = 0; i < kItems; ++i) {
            if (k + i < width) items[i] = row.items[k + i];
        }
    }
    if (Format::kScaled) {
#pragma unroll
        for (int i = 0; i < kItems; ++i) items[i] = Format::scale(items[i], row.factor);
    }
    return chunk;
}

template <typename Format>
__device__ inline int slab_count(int width) {
    return ceil_div(width, kSlabBytes / static_cast<int>(sizeof(typename Format::Item)));
}

// Adds to each warp's 32 x 32 sums of a tile the products over slabs `begin` to `end` of the rows' width. `row_of`
// gives row i of the tile's left side, and as row kTile + i that of its right side. A block has a warp per 32 x 32;
// all its threads call. While a slab is multiplied, the next is on its way from memory into registers.
template <typename Format, int kTile, typename RowOf>
__device__ inline void multiply_rows(WarpSums& sums, Chunk* slab_rows, RowOf row_of, int width, int begin, int end) {
    constexpr int kItems = 16 / sizeof(typename Format::Item), kSide = kTile / kWarp;
    constexpr int kThreads = kSide * kSide * kWarp, kLoads = 2 * kTile * kSlabChunks / kThreads;
    const bool aligned = width % kItems == 0;
    Chunk next[kLoads];
    const auto load = [&](int slab) {
#pragma unroll
        for (int i = 0; i < kLoads; ++i) {
            const int number = threadIdx.x + i * kThreads, row = number / kSlabChunks;
            const int k = (slab * kSlabChunks + number % kSlabChunks) * kItems;
            next[i] = load_chunk<Format>(row_of(row), k, width, aligned);
        }
    };
    if (begin < end) load(begin);
    for (int slab = begin; slab < end; ++slab) {
        __syncthreads();  // before the slab that all have multiplied is overwritten
#pragma unroll
        for (int i = 0; i < kLoads; ++i) {
            const int number = threadIdx.x + i * kThreads;
            slab_rows[number / kSlabChunks * kStrideChunks + number % kSlabChunks] = next[i];
        }
        __syncthreads();
        if (slab + 1 < end) load(slab + 1);
        Format::multiply(sums, slab_rows + warp_id() / kSide * kWarp * kStrideChunks,
                         slab_rows + (kTile + warp_id() % kSide * kWarp) * kStrideChunks);
    }
}

// Calls `take(row, column, sum)` for each sum of the tile that this lane holds.
template <int kTile, typename Take>
__device__ inline void for_each_sum(const WarpSums& sums, Take take) {
    constexpr int kSide = kTile / kWarp;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
        for (int n = 0; n < kColumnTiles; ++n) {
#pragma unroll
            for (int each = 0; each < 4; ++each) {
                const int row = warp_id() / kSide * kWarp + m * 16 + lane_id() / 4 + each / 2 * 8;
                const int column = warp_id() % kSide * kWarp + n * 8 + lane_id() % 4 * 2 + each % 2;
                take(row, column, sums[m][n][each]);
            }
        }
    }
}
