// The kernels' own source, compiled for the host, and its entry points by name.
#include <cstring>
#include <tuple>
#include <utility>

#include "clasp.cu"

namespace emulation {
const char* launch(void (*kernel)(void**), void** arguments, unsigned blocks, unsigned threads,
                   std::size_t dynamic_bytes, unsigned seed);
}

namespace {

// Calls a kernel with arguments given by their addresses, as cuLaunchKernel takes them.
template <auto kernel, typename... Arguments, std::size_t... index>
void call(void** arguments, void (*)(Arguments...), std::index_sequence<index...>) {
    kernel(*static_cast<Arguments*>(arguments[index])...);
}
template <auto kernel, typename... Arguments>
void call(void** arguments, void (*signature)(Arguments...)) {
    call<kernel>(arguments, signature, std::index_sequence_for<Arguments...>{});
}
template <auto kernel>
void enter(void** arguments) {
    call<kernel>(arguments, kernel);
}

struct Entry {
    const char* name;
    void (*enter)(void**);
};
#define ENTRY(name) {#name, enter<name>}
const Entry entries[] = {
    ENTRY(clasp_pivot_select),    ENTRY(clasp_redundancy), ENTRY(clasp_seed_rank), ENTRY(clasp_assign_to_seeds),
    ENTRY(clasp_assign),          ENTRY(clasp_update),     ENTRY(clasp_medoids),   ENTRY(clasp_keep_all),
};

}  // namespace

extern "C" const char* emulate(const char* kernel, void** arguments, unsigned blocks, unsigned threads,
                               std::size_t dynamic_bytes, unsigned seed) {
    for (const Entry& entry : entries) {
        if (std::strcmp(entry.name, kernel) == 0) {
            return emulation::launch(entry.enter, arguments, blocks, threads, dynamic_bytes, seed);
        }
    }
    return "no kernel of that name";
}
