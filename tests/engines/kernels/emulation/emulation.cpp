// The scheduler behind emulation.h. Fibers are made once and reused; _setjmp and _longjmp switch between them.
#include "emulation.h"

#include <csetjmp>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <ucontext.h>
#include <unordered_map>
#include <vector>

emulation::Dim threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {
namespace {

constexpr std::size_t kStackBytes = 64 << 10;
constexpr std::size_t kGuardBytes = 256;
constexpr unsigned kBlocksUnderWay = 4;

struct Fiber {
    std::unique_ptr<char[]> stack{new char[kStackBytes]};
    std::jmp_buf here;
    bool is_started = false;
    Wait waits = Wait::none;
    Dim thread{};
};

// Memory between two guard zones, filled with noise.
struct Guarded {
    std::vector<std::uint8_t> bytes;
    std::uint8_t noise;
    Guarded(std::size_t size, std::uint8_t noise_) : bytes(size + 2 * kGuardBytes, noise_), noise(noise_) {}
    std::uint8_t* data() { return bytes.data() + kGuardBytes; }
    bool is_intact() const {
        for (std::size_t i = 0; i < kGuardBytes; ++i) {
            if (bytes[i] != noise || bytes[bytes.size() - 1 - i] != noise) return false;
        }
        return true;
    }
};

struct Warp {
    std::vector<Fiber*> lanes;
    unsigned operations = 0;  // collective ones that are complete
    std::uint8_t slots[2][kLanes * kSlotBytes];
};

struct Block {
    Dim index{};
    std::vector<Warp> warps;
    std::unordered_map<int, Guarded> declared;
    std::unique_ptr<Guarded> dynamic;
};

std::mt19937 lot;
std::jmp_buf scheduler;
Block* block;
Warp* warp;
Fiber* fiber;
std::vector<std::unique_ptr<Fiber>> idle;
void (*entry)(void**);
void** entry_arguments;

unsigned draw(unsigned below) { return static_cast<unsigned>((static_cast<std::uint64_t>(lot()) * below) >> 32); }

void yield_to_scheduler() {
    if (_setjmp(fiber->here) == 0) _longjmp(scheduler, 1);
}

void fiber_main() {
    for (;;) {
        entry(entry_arguments);
        wait_for(Wait::over);  // comes back when the fiber is another thread
    }
}

void resume(Fiber* next) {
    fiber = next;
    threadIdx = fiber->thread;
    if (_setjmp(scheduler) != 0) return;
    if (fiber->is_started) _longjmp(fiber->here, 1);
    fiber->is_started = true;
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = fiber->stack.get();
    context.uc_stack.ss_size = kStackBytes;
    context.uc_link = nullptr;
    makecontext(&context, fiber_main, 0);
    setcontext(&context);
}

std::unique_ptr<Block> start_block(unsigned number, std::size_t dynamic_bytes) {
    auto started = std::make_unique<Block>();
    started->index = {number, 0, 0};
    started->warps.resize(blockDim.x / kLanes);
    started->dynamic = std::make_unique<Guarded>(dynamic_bytes, static_cast<std::uint8_t>(draw(256)));
    for (unsigned thread = 0; thread < blockDim.x; ++thread) {
        if (idle.empty()) idle.push_back(std::make_unique<Fiber>());
        Fiber* next = idle.back().release();
        idle.pop_back();
        next->waits = Wait::none;
        next->thread = {thread, 0, 0};
        started->warps[thread / kLanes].lanes.push_back(next);
    }
    return started;
}

template <typename Fibers>
bool all_wait(const Fibers& fibers, Wait whom) {
    return std::all_of(fibers.begin(), fibers.end(), [=](const Fiber* each) { return each->waits == whom; });
}

bool block_all_wait(const Block& of, Wait whom) {
    return std::all_of(of.warps.begin(), of.warps.end(), [=](const Warp& each) { return all_wait(each.lanes, whom); });
}

// Lets each lane of a warp run until it waits. False if all of them wait already.
bool run_warp(Warp& chosen) {
    warp = &chosen;
    bool ran = false;
    const unsigned first = draw(kLanes);
    const unsigned direction = draw(2) ? 1 : kLanes - 1;
    for (unsigned i = 0; i < kLanes; ++i) {
        Fiber* next = chosen.lanes[(first + i * direction) % kLanes];
        if (next->waits != Wait::none) continue;
        ran = true;
        resume(next);
    }
    if (all_wait(chosen.lanes, Wait::warp)) {
        ++chosen.operations;
        for (Fiber* lane : chosen.lanes) lane->waits = Wait::none;
    }
    return ran;
}

// Runs some warps of a block. False when all its threads have ended.
bool run_block(Block& chosen) {
    block = &chosen;
    blockIdx = chosen.index;
    bool ran = false;
    const unsigned count = static_cast<unsigned>(chosen.warps.size());
    const unsigned first = draw(count), turns = 1 + draw(count);
    for (unsigned i = 0; i < count && (i < turns || !ran); ++i) ran |= run_warp(chosen.warps[(first + i) % count]);
    if (block_all_wait(chosen, Wait::over)) return false;
    if (block_all_wait(chosen, Wait::block)) {
        for (Warp& each : chosen.warps) {
            for (Fiber* lane : each.lanes) lane->waits = Wait::none;
        }
    } else if (!ran) {
        throw std::runtime_error("divergent barrier: threads wait for others that have ended or wait elsewhere");
    }
    return true;
}

void end_block(Block& ended, bool check) {
    for (Warp& each : ended.warps) {
        for (Fiber* lane : each.lanes) {
            if (check) {
                idle.emplace_back(lane);
            } else {
                delete lane;  // it is stuck in the middle of a thread
            }
        }
    }
    if (!check) return;
    bool intact = ended.dynamic->is_intact();
    for (const auto& [id, memory] : ended.declared) intact = intact && memory.is_intact();
    if (!intact) throw std::runtime_error("a kernel wrote past its shared memory");
}

void run_grid(std::size_t dynamic_bytes) {
    std::vector<std::unique_ptr<Block>> under_way;
    std::vector<unsigned> waiting(gridDim.x);
    for (unsigned i = 0; i < gridDim.x; ++i) waiting[i] = i;
    std::shuffle(waiting.begin(), waiting.end(), lot);
    try {
        while (!waiting.empty() || !under_way.empty()) {
            if (!waiting.empty() && under_way.size() < kBlocksUnderWay) {
                under_way.push_back(start_block(waiting.back(), dynamic_bytes));
                waiting.pop_back();
                continue;
            }
            const unsigned chosen = draw(static_cast<unsigned>(under_way.size()));
            if (!run_block(*under_way[chosen])) {
                std::swap(under_way[chosen], under_way.back());
                const auto ended = std::move(under_way.back());
                under_way.pop_back();
                end_block(*ended, true);
            }
        }
    } catch (...) {
        for (auto& each : under_way) end_block(*each, false);
        throw;
    }
}

}  // namespace

void* shared(int id, std::size_t bytes) {
    auto found = block->declared.find(id);
    if (found == block->declared.end()) {
        found = block->declared.emplace(id, Guarded(bytes, static_cast<std::uint8_t>(draw(256)))).first;
    }
    return found->second.data();
}

void* dynamic_shared() { return block->dynamic->data(); }

void wait_for(Wait whom) {
    fiber->waits = whom;
    yield_to_scheduler();
}

void maybe_pause() {
    if (draw(64) == 0) yield_to_scheduler();
}

std::uint8_t* exchange_slots() { return warp->slots[warp->operations % 2]; }

int lane() { return static_cast<int>(threadIdx.x % kLanes); }

// Runs one launch to its end. Returns null, or what went wrong, valid until the next call.
const char* launch(void (*kernel)(void**), void** arguments, unsigned blocks, unsigned threads,
                   std::size_t dynamic_bytes, unsigned seed) {
    static std::string message;
    lot.seed(seed);
    entry = kernel;
    entry_arguments = arguments;
    blockDim = {threads, 1, 1};
    gridDim = {blocks, 1, 1};
    try {
        run_grid(dynamic_bytes);
        return nullptr;
    } catch (const std::exception& error) {
        message = error.what();
        return message.c_str();
    }
}

}  // namespace emulation
