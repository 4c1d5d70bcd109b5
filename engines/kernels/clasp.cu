// All kernels of the pruning selection, one translation unit: compiled by NVRTC for GPUs and, with CLASP_EMULATION, by
// a host compiler for the tests.
#include "attention.cuh"
#include "gram.cuh"
#include "medoids.cuh"
#include "pivot_select.cuh"
#include "prune.cuh"
#include "saliency.cuh"
#include "seeds.cuh"
