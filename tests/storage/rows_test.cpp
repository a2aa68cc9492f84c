// SPDX-License-Identifier: Apache-2.0
#include "kith/storage/rows.hpp"

#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "kith/core/random.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace {

using kith::ErrorCode;
using kith::MatrixView;
using kith::Rows;
using kith::Slot;

std::vector<float> ramp(std::size_t n) {
    std::vector<float> values(n);
    std::iota(values.begin(), values.end(), 0.0f);
    return values;
}

template <class T>
std::vector<std::vector<T>> values(const Rows<T>& rows) {
    std::vector<std::vector<T>> all;
    for (std::size_t i = 0; i < rows.rows(); ++i) {
        const auto row = rows.view()[i];
        all.emplace_back(row.begin(), row.end());
    }
    return all;
}

}  // namespace

TEST_CASE("rows do what a vector of vectors does", "[rows]") {
    const bool pad = GENERATE(false, true);
    const std::size_t cols =
        GENERATE(std::size_t{1}, std::size_t{3}, std::size_t{16}, std::size_t{17});
    Rows<float> rows(cols, {.pad_rows = pad, .memory = {}});
    std::vector<std::vector<float>> model;
    const kith::Random random(7, cols);
    for (std::uint64_t step = 0; step < 400; ++step) {
        std::vector<float> row(cols);
        for (std::size_t j = 0; j < cols; ++j)
            row[j] = static_cast<float>(random.below(step * 100 + j, 1000));
        const auto action = random.below(step * 100 + 99, 10);
        const auto at =
            model.empty() ? 0 : static_cast<Slot>(random.below(step * 100 + 98, model.size()));
        if (action < 5 || model.empty()) {
            rows.append(std::span<const float>(row));
            model.push_back(row);
        } else if (action < 6) {
            const auto count = std::min<std::size_t>(at + 1, 3);  // rows of our own
            rows.append(rows.view().slice(0, count));
            const std::vector<std::vector<float>> same(model.begin(),
                                                       model.begin() + static_cast<long>(count));
            model.insert(model.end(), same.begin(), same.end());
        } else if (action < 8) {
            rows.overwrite(at, row);
            model[at] = row;
        } else {
            rows.swap_remove(at);
            model[at] = model.back();
            model.pop_back();
        }
        REQUIRE(values(rows) == model);
        if (pad)
            for (std::size_t i = 0; i < rows.rows(); ++i)
                REQUIRE(reinterpret_cast<std::uintptr_t>(rows.row(static_cast<Slot>(i))) % 64 == 0);
    }
    CHECK(rows.capacity() >= rows.rows());
    rows.truncate(1);
    CHECK(rows.rows() <= 1);
}

TEST_CASE("the first append leaves no slack, later ones grow by half", "[rows]") {
    const auto data = ramp(4000);
    auto rows = Rows<float>::copy(MatrixView<const float>(data.data(), 1000, 4));
    CHECK(rows.capacity() < 1016);
    rows.append(std::span<const float>(data.data(), 4));
    CHECK(rows.capacity() >= 1500);
    rows.reserve(5000);
    CHECK(rows.capacity() >= 5000);
    CHECK(rows.bytes() >= 5000 * 4 * sizeof(float));
}

TEST_CASE("borrowed rows are not copied until they must be", "[rows]") {
    auto data = std::make_shared<std::vector<float>>(ramp(60));
    const MatrixView<const float> view(data->data(), 10, 5, 6);  // a stride, as .fvecs has
    auto rows = Rows<float>::borrow(view, data);
    CHECK(data.use_count() == 2);
    CHECK(rows.is_borrowed());
    CHECK(rows.kind() == kith::RowsKind::borrowed);
    CHECK(rows.bytes() == 0);
    CHECK(rows.row(3) == view.row(3));
    rows.swap_remove(9);  // the last: nothing to change
    rows.truncate(8);
    CHECK(rows.is_borrowed());
    CHECK(rows.rows() == 8);

    rows.append(std::span<const float>(view.row(9), 5));
    CHECK_FALSE(rows.is_borrowed());
    CHECK(data.use_count() == 1);
    CHECK(rows.rows() == 9);
    CHECK(rows.stride() == 5);
    CHECK(rows.row(2)[4] == 16.0f);
    CHECK(rows.row(8)[0] == 54.0f);

    auto mapped = Rows<float>::map(view, data);
    CHECK(mapped.kind() == kith::RowsKind::mapped);
    mapped.swap_remove(0);
    CHECK(mapped.row(0)[1] == 55.0f);
    CHECK((*data)[1] == 1.0f);  // the caller's memory is never written
    CHECK(data.use_count() == 1);

    auto owned = Rows<float>::borrow(view, data);
    owned.append(owned.view());
    CHECK(owned.rows() == 20);
    CHECK(owned.row(19)[0] == 54.0f);
    auto kept = Rows<float>::borrow(view, data);
    kept.overwrite(1, kept.view()[2]);
    CHECK(kept.row(1)[0] == 12.0f);
    kept.make_owned();
    CHECK(kept.bytes() > 0);
}

TEST_CASE("moved rows leave empty ones behind", "[rows]") {
    const auto data = ramp(12);
    auto rows = Rows<float>::copy(MatrixView<const float>(data.data(), 3, 4));
    const float* first = rows.row(0);
    Rows<float> moved = std::move(rows);
    CHECK(moved.row(0) == first);
    CHECK(rows.rows() == 0);  // NOLINT: what a moved-from object is, is being tested
    rows = std::move(moved);
    CHECK(rows.row(2)[3] == 11.0f);
}

TEST_CASE("rows refuse what does not fit", "[rows]") {
    const auto data = ramp(12);
    test::check_error(ErrorCode::dimension_mismatch, {"at least 1", "0"},
                      [] { Rows<float> rows(0); });
    auto rows = Rows<float>::copy(MatrixView<const float>(data.data(), 3, 4));
    test::check_error(ErrorCode::dimension_mismatch, {"4", "3"},
                      [&] { rows.append(std::span<const float>(data.data(), 3)); });
    test::check_error(ErrorCode::dimension_mismatch, {"4", "5"},
                      [&] { rows.overwrite(0, std::span<const float>(data.data(), 5)); });
    test::check_error(ErrorCode::invalid_argument, {"below 3", "3"}, [&] { rows.swap_remove(3); });
    test::check_error(ErrorCode::invalid_argument, {"at most"}, [&] {
        Rows<float>::borrow({data.data(), kith::max_rows + 1, 4});
    });
    test::check_error(ErrorCode::invalid_argument, {"at most"}, [&] {
        rows.append(MatrixView<const float>(data.data(), kith::max_rows, 4));
    });
    test::check_error(ErrorCode::invalid_argument, {"stride"}, [&] {
        Rows<float>::borrow({data.data(), 2, 4, 3});
    });
    CHECK(rows.rows() == 3);
}
