// SPDX-License-Identifier: Apache-2.0
#include "sets.hpp"

#include <cstring>
#include <string_view>
#include <vector>

#include "kith/hash/sketch.hpp"
#include "runtime.hpp"

namespace kith::python {
namespace {

std::vector<std::uint64_t> numbers(const py::bytes& bytes) {
    const std::string_view view = bytes;
    std::vector<std::uint64_t> values(view.size() / sizeof(std::uint64_t));
    std::memcpy(values.data(), view.data(), values.size() * sizeof(std::uint64_t));
    return values;
}

/// The rows as bytes, one after the other.
py::bytes sketch(const py::bytes& items, const py::bytes& offsets, std::size_t bits,
                 std::uint64_t seed, const py::object& threads) {
    const auto of_items = numbers(items), of_offsets = numbers(offsets);
    ThreadLease pool(thread_count(threads.ptr()));
    Watch watch(py::none{});
    WatchedExecutor executor(pool.executor(), watch);
    const auto rows =
        watch.run([&] { return sketch_sets(of_items, of_offsets, bits, seed, executor); });
    return {reinterpret_cast<const char*>(rows.data()), rows.size()};
}

}  // namespace

void bind_sets(py::module_& module) {
    using namespace py::literals;
    module.def("sketch_sets", sketch, "items"_a, "offsets"_a, "bits"_a, "seed"_a, "threads"_a);
}

}  // namespace kith::python
