// The end of a selection: one medoid per cluster (Eqs. 16-17), the places that empty clusters leave, and the kept
// tokens in ascending order (Eq. 18).
#pragma once

#include "kmeans.cuh"

// Larger is closer to the center; equal cosines go to the lower index. Never 0.
__device__ inline uint64 medoid_key(float similarity, int token) {
    const unsigned sign = 0x80000000u, bits = __float_as_uint(similarity + 0.0f);
    const unsigned ordered = bits & sign ? ~bits : bits | sign;
    return static_cast<uint64>(ordered) << 32 | (0xffffffffu - token);
}

// One block finishes one image.
CLASP_KERNEL(1024)
clasp_medoids(const uint8* __restrict__ pivots, const int* __restrict__ ranked, const int* __restrict__ owner,
              const int* __restrict__ clusters, const int* __restrict__ sums, const int64* __restrict__ lengths,
              int64* kept, uint8* is_pivot, int batch, int tokens, int keep, int planes) {
    CLASP_DYNAMIC_SHARED(uint64, best);  // per cluster; a mark per token follows
    CLASP_SHARED(int, counts, kMaxWarps);
    uint8* chosen = reinterpret_cast<uint8*>(best + keep);
    const int64 plane_size = static_cast<int64>(keep) * tokens;
    const int padded = ceil_div(tokens, blockDim.x) * blockDim.x;  // every thread joins each scan
    for (int image = blockIdx.x; image < batch; image += gridDim.x) {
        const uint8* marks = pivots + image * tokens;
        const int* order = ranked + image * tokens;
        for (int k = threadIdx.x; k < keep; k += blockDim.x) best[k] = 0;
        for (int token = threadIdx.x; token < tokens; token += blockDim.x) chosen[token] = marks[token];
        __syncthreads();
        for (int token = threadIdx.x; token < tokens; token += blockDim.x) {
            const int k = owner[image * tokens + token];
            if (k < 0) continue;
            const int* place = sums + image * planes * plane_size + static_cast<int64>(k) * tokens + token;
            const float length = center_length(lengths[static_cast<int64>(image) * keep + k]);
            atomicMax(&best[k], medoid_key(cosine(total_of_planes(place, planes, plane_size), length), token));
        }
        __syncthreads();
        for (int k = threadIdx.x; k < clusters[image]; k += blockDim.x) {
            if (best[k] != 0) chosen[0xffffffffu - static_cast<unsigned>(best[k])] = 1;
        }
        __syncthreads();

        int free_places = keep, total;
        for (int token = threadIdx.x; token < padded; token += blockDim.x) {
            flags_before(token < tokens && chosen[token], counts, total);
            free_places -= total;
        }
        for (int place = threadIdx.x; place < padded && free_places > 0; place += blockDim.x) {
            const bool is_spare = place < tokens && !chosen[order[place]];
            const int before = flags_before(is_spare, counts, total);
            if (is_spare && before < free_places) chosen[order[place]] = 1;
            free_places -= total;
        }
        __syncthreads();

        int kept_before = 0;
        for (int token = threadIdx.x; token < padded; token += blockDim.x) {
            const bool stays = token < tokens && chosen[token];
            const int place = kept_before + flags_before(stays, counts, total);
            if (stays && place < keep) {
                kept[static_cast<int64>(image) * keep + place] = token;
                is_pivot[static_cast<int64>(image) * keep + place] = marks[token];
            }
            kept_before += total;
        }
    }  // the scan's last barrier lets the next image overwrite what the block shares
}

// With as many places as tokens there is nothing to choose.
CLASP_KERNEL(1024)
clasp_keep_all(const uint8* __restrict__ pivots, int64* kept, uint8* is_pivot, int batch, int tokens) {
    for (int place = blockIdx.x * blockDim.x + threadIdx.x; place < batch * tokens; place += gridDim.x * blockDim.x) {
        kept[place] = place % tokens;
        is_pivot[place] = pivots[place];
    }
}
