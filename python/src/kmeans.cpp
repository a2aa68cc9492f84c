// SPDX-License-Identifier: Apache-2.0
#include "kmeans.hpp"

#include <cstring>

#include "arrays.hpp"
#include "kith/quantize/kmeans.hpp"
#include "kith/space/finite.hpp"
#include "runtime.hpp"

namespace kith::python {
namespace {

template <class T>
MatrixView<const T> view_of(const AnyMatrix& matrix) {
    return {static_cast<const T*>(matrix.data), matrix.rows, matrix.cols, matrix.stride};
}

/// Calls work(view) with the element type that the rows have.
template <class Work>
auto with_view(const AnyMatrix& matrix, Work work) {
    switch (matrix.type) {
        case ElementType::f32: return work(view_of<float>(matrix));
        case ElementType::f16: return work(view_of<Half>(matrix));
        case ElementType::bf16: return work(view_of<BFloat16>(matrix));
        case ElementType::i8: return work(view_of<std::int8_t>(matrix));
        default: return work(view_of<std::uint8_t>(matrix));
    }
}

py::object array_of(std::initializer_list<std::size_t> shape, int type, const void* from,
                    std::size_t bytes) {
    py::object array = new_array(shape, type);
    if (bytes > 0) std::memcpy(array_data(array), from, bytes);
    return array;
}

/// (centroids, objective, sizes, converged, reseeded, training_rows, imbalance)
py::tuple train(const py::object& rows, const py::dict& params, std::uint64_t seed,
                const py::object& threads, bool check, py::object progress) {
    const Rows given = rows_from(rows.ptr(), false, "rows", false);
    const auto parsed = parse_params<KMeansParams>(param_map(params), "kmeans");
    ThreadLease pool(thread_count(threads.ptr()));
    Watch watch(std::move(progress));
    WatchedExecutor executor(pool.executor(), watch);
    const KMeans result = watch.run([&] {
        return with_view(given.matrix, [&](auto view) {
            if (check) require_finite(view, "row");
            return kmeans(view, parsed, seed, executor, watch.progress());
        });
    });
    const KMeansReport& report = result.report;
    const auto centroids = result.centroids.view();
    return py::make_tuple(
        array_of({centroids.rows(), centroids.cols()}, numpy_float32, centroids.data(),
                 centroids.rows() * centroids.cols() * sizeof(float)),
        array_of({report.objective.size()}, numpy_float64, report.objective.data(),
                 report.objective.size() * sizeof(double)),
        array_of({report.sizes.size()}, numpy_uint32, report.sizes.data(),
                 report.sizes.size() * sizeof(std::uint32_t)),
        report.converged, report.reseeded, report.training_rows, report.imbalance);
}

/// (nearest, distances)
py::tuple assign(const py::object& centroids, const py::object& rows, bool directions,
                 const py::object& threads) {
    const Rows to = rows_from(centroids.ptr(), false, "centroids", false);
    const Rows given = rows_from(rows.ptr(), false, "rows", true);
    if (to.matrix.type != ElementType::f32)
        fail(ErrorCode::type_mismatch, "centroids must be float32, not ", name(to.matrix.type));
    ThreadLease pool(thread_count(threads.ptr()));
    Watch watch(py::none{});
    WatchedExecutor executor(pool.executor(), watch);
    const std::size_t count = given.matrix.rows;
    const auto results = [&](int type) {
        return given.flat ? new_array({}, type) : new_array({count}, type);
    };
    const py::object nearest = results(numpy_uint32), distances = results(numpy_float32);
    const std::span<std::uint32_t> nearest_out(static_cast<std::uint32_t*>(array_data(nearest)),
                                               count);
    const std::span<float> distances_out(static_cast<float*>(array_data(distances)), count);
    watch.run([&] {
        with_view(given.matrix, [&](auto view) {
            require_finite(view, "row");
            const auto call = [&](auto function) {
                function(view_of<float>(to.matrix), view, nearest_out, distances_out, executor);
            };
            using T = std::remove_const_t<std::remove_pointer_t<decltype(view.data())>>;
            if (directions)
                call(assign_nearest_direction<T>);
            else
                call(assign_nearest<T>);
        });
    });
    return py::make_tuple(nearest, distances);
}

}  // namespace

void bind_kmeans(py::module_& module) {
    using namespace py::literals;
    module.def("kmeans", train, "rows"_a, "params"_a, "seed"_a, "threads"_a, "check"_a,
               "progress"_a);
    module.def("assign_nearest", assign, "centroids"_a, "rows"_a, "directions"_a, "threads"_a);
}

}  // namespace kith::python
