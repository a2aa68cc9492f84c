// SPDX-License-Identifier: Apache-2.0
//
// PqScorer: a query's table, bound to the codes of rows (quantize/pq.hpp, quantize/pq_codes.hpp). A distance is
//
//   8 bits   bias + sum of the float entries that the codes pick
//   4 bits   offset + scale * (sum of the bytes that the codes pick), an exact sum (quantize/pq_table.hpp)
//
// and a term of the row where there are such, to the bit, whichever way it is asked for. With 4 bits, rows that are near enough are found by their whole sums, and up to four queries share a pass. With 8 bits, where the
// instruction set can, a bound from below by bytes says which rows are worth adding up (simd/byte_filter.hpp).
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "kith/core/buffer.hpp"
#include "kith/core/types.hpp"
#include "kith/quantize/pq_codes.hpp"
#include "kith/quantize/pq_table.hpp"
#include "kith/simd/kernels.hpp"

namespace kith {

/// A table of 8-bit codes in bytes, made from the floats when so many rows were looked at that it pays.
class PqFilter {
    friend class PqScorer;
    simd::ByteTable scale_;
    bool made_ = false;
    std::size_t waited_ = 0;  // codes that were added up so far
    AlignedBuffer<std::uint8_t> bytes_;

public:
    /// For another table of floats, of such codes.
    void reset(const PqCodes& codes) {
        made_ = false;
        waited_ = 0;
        if (wanted(codes)) bytes_.reserve_discarding(256 * codes.m());
    }
    static bool wanted(const PqCodes& codes) noexcept { return !codes.packed() && codes.m() <= 256 && simd::kernels().byte_filter.within != nullptr; }
};

/// Borrows codes and table.
class PqScorer {
public:
    using distance_type = float;
    static constexpr std::size_t together = 4;
    static constexpr std::size_t chunk = 256;

    /// 8-bit codes: 256 entries a code.
    PqScorer(const PqCodes& codes, const float* table, float bias) noexcept : codes_(&codes), kernels_(&simd::kernels()), entries_(table), bias_(bias) {}
    /// The same with a filter, which was reset for such codes when the table was made.
    PqScorer(const PqCodes& codes, const float* table, float bias, PqFilter& filter) noexcept : PqScorer(codes, table, bias) {
        if (PqFilter::wanted(codes)) filter_ = &filter;
    }
    /// 4-bit codes: 16 entries a code, codes.groups() times 16 in all.
    PqScorer(const PqCodes& codes, const std::uint8_t* table, const ByteScale& scale) noexcept
        : codes_(&codes), kernels_(&simd::kernels()), bytes_(table), scale_(scale) {}

    /// The same with terms[slot] added to the distance of each slot; null: nothing. Blocks of 32 slots have 32 terms, be they rows or not.
    PqScorer with_terms(const float* terms) const noexcept {
        PqScorer scorer = *this;
        scorer.terms_ = terms;
        return scorer;
    }

    float operator()(Slot slot) const noexcept {
        float distance;
        gather({&slot, 1}, &distance);
        return distance;
    }

    void gather(std::span<const Slot> slots, float* out) const noexcept {
        const std::uint8_t* const codes = codes_->stored().view().data();
        if (codes_->packed())
            kernels_->gather32(codes, codes_->groups(), bytes_, scale_.scale, scale_.offset, slots.data(), slots.size(), out);
        else
            kernels_->product.gather(entries_, codes_->m(), codes, codes_->stored().stride(), slots.data(), slots.size(), bias_, out);
        if (terms_ == nullptr) return;
        for (std::size_t i = 0; i < slots.size(); ++i) out[i] += terms_[slots[i]];
    }

    void run(std::size_t first, std::size_t count, float* out) const noexcept {
        add_up(first, count, out);
        if (terms_ == nullptr) return;
        for (std::size_t i = 0; i < count; ++i) out[i] += terms_[first + i];
    }

    /// BoundedScorer's (space/space.hpp).
    static void run_within(std::span<const PqScorer> scorers, std::size_t first, std::size_t count, const float* bounds, float* out,
                           std::uint32_t* hits) noexcept {
        const std::size_t words = (count + block - 1) / block;
        if (!scorers[0].codes_->packed()) {
            for (std::size_t j = 0; j < scorers.size(); ++j) {
                if (scorers[j].filtered(first, count, bounds[j], out + chunk * j, hits + chunk / block * j)) continue;
                scorers[j].run(first, count, out + chunk * j);
                for (std::size_t w = 0; w < words; ++w)
                    hits[chunk / block * j + w] = bits_within(out + chunk * j + block * w, std::min(block, count - block * w), bounds[j]);
            }
            return;
        }
        std::array<simd::BlockQuery, together> queries;
        for (std::size_t j = 0; j < scorers.size(); ++j)
            queries[j] = {scorers[j].bytes_, scorers[j].scale_.scale, scorers[j].scale_.offset, scorers[j].terms_ == nullptr ? scorers[j].scale_.most_within(bounds[j]) : 0,
                          out + chunk * j, hits + chunk / block * j, scorers[j].terms_ == nullptr ? nullptr : scorers[j].terms_ + first, bounds[j]};
        const PqCodes& codes = *scorers[0].codes_;
        scorers[0].kernels_->scan32(codes.stored().row(static_cast<Slot>(first / block)), words, codes.groups(), queries.data(), scorers.size());
        if (count % block == 0) return;
        for (std::size_t j = 0; j < scorers.size(); ++j) queries[j].hits[words - 1] &= (1u << count % block) - 1u;
    }

private:
    static constexpr std::size_t block = PqCodes::block;
    static constexpr std::size_t worthwhile = 8192;  // codes that are added up in the time that a table of bytes and they would take, about

    /// Adds up those rows only whose bytes allow it. False where bytes tell nothing, or making them would take longer than adding up.
    bool filtered(std::size_t first, std::size_t count, float bound, float* out, std::uint32_t* hits) const noexcept {
        if (filter_ == nullptr || !(bound < std::numeric_limits<float>::infinity())) return false;
        const std::size_t m = codes_->m(), words = (count + block - 1) / block;
        if (!filter_->made_) {
            filter_->waited_ += count * m;
            if (count < chunk && filter_->waited_ < worthwhile) return false;
            kernels_->byte_filter.tabulate(entries_, m, filter_->bytes_.data(), filter_->scale_);
            filter_->made_ = true;
        }
        const simd::ByteTable& filter = filter_->scale_;
        if (!(filter.scale > 0)) return false;
        // Sums of m floats in two halves, and what is added to them: each addition is off by half a unit of the last place of all that was added at most.
        const double scale = static_cast<double>(filter.scale), rounding = (static_cast<double>(m) / 2 + 5) * 0x1p-23;
        const double steps = (static_cast<double>(bound) - static_cast<double>(bias_) - filter.offset) / scale;
        const double slack = 1 + rounding * (std::abs(static_cast<double>(bound)) + std::abs(static_cast<double>(bias_)) + filter.magnitude) / scale;
        if (terms_ == nullptr) {
            if (!(steps + slack >= 0)) {
                std::fill_n(hits, words, 0u);
                return true;
            }
            if (steps + slack >= 255.0 * static_cast<double>(m)) return false;
        }
        simd::ByteLimits limits;
        limits.steps = static_cast<float>(steps + slack + 0x1p-22 * std::abs(steps));
        if (terms_ != nullptr) limits.terms = terms_ + first;
        limits.steps_per_term = static_cast<float>(1 / scale);
        limits.slack_per_term = static_cast<float>(2 * rounding / scale);
        const std::uint8_t* const rows = codes_->stored().row(static_cast<Slot>(first));
        kernels_->byte_filter.within(filter_->bytes_.data(), m, rows, codes_->stored().stride(), count, limits, hits);
        for (std::size_t word = 0; word < words; ++word)
            for (std::uint32_t bits = hits[word]; bits != 0; bits &= bits - 1) {
                const std::size_t i = block * word + static_cast<std::size_t>(std::countr_zero(bits));
                run(first + i, 1, out + i);
                if (out[i] > bound) hits[word] &= ~(bits & (~bits + 1));
            }
        return true;
    }

    /// Without terms.
    void add_up(std::size_t first, std::size_t count, float* out) const noexcept {
        if (!codes_->packed()) {
            kernels_->product.run(entries_, codes_->m(), codes_->stored().row(static_cast<Slot>(first)), codes_->stored().stride(), count, bias_, out);
            return;
        }
        std::array<std::uint32_t, chunk / block> hits;
        while (count > 0) {
            const std::size_t inside = first % block;
            std::size_t done;
            if (inside == 0 && count >= block) {
                const std::size_t blocks = std::min(count / block, hits.size());
                scan_blocks(first, blocks, out, hits.data());
                done = blocks * block;
            } else {  // the end of a block, or its beginning, or what lies between
                std::array<float, block> all;
                scan_blocks(first - inside, 1, all.data(), hits.data());
                done = std::min(block - inside, count);
                std::copy_n(all.data() + inside, done, out);
            }
            first += done;
            count -= done;
            out += done;
        }
    }

    /// Without terms.
    void scan_blocks(std::size_t first, std::size_t blocks, float* out, std::uint32_t* hits) const noexcept {
        const simd::BlockQuery query{bytes_, scale_.scale, scale_.offset, std::numeric_limits<std::int32_t>::max(), out, hits};
        kernels_->scan32(codes_->stored().row(static_cast<Slot>(first / block)), blocks, codes_->groups(), &query, 1);
    }

    /// Bit i: distances[i] <= bound, or NaN. Most blocks have none, which takes a glance.
    static std::uint32_t bits_within(const float* distances, std::size_t count, float bound) noexcept {
        int any = 0;
        if (count == block) {
            for (std::size_t i = 0; i < block; ++i) any |= !(distances[i] > bound);
            if (any == 0) return 0;
        }
        std::uint32_t bits = 0;
        for (std::size_t i = 0; i < count; ++i) bits |= std::uint32_t{!(distances[i] > bound)} << i;
        return bits;
    }

    const PqCodes* codes_;
    const simd::KernelTable* kernels_;
    const float* entries_ = nullptr;
    const std::uint8_t* bytes_ = nullptr;
    PqFilter* filter_ = nullptr;
    const float* terms_ = nullptr;
    float bias_ = 0.0f;
    ByteScale scale_;
};

}  // namespace kith
