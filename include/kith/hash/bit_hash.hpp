// SPDX-License-Identifier: Apache-2.0
//
// Hash functions for rows of bits:
//
//   bit_sampling  one of the bits (Indyk and Motwani 1998; Gionis, Indyk and Motwani 1999, "Similarity search in high dimensions via hashing", VLDB): two rows of d
//                 bits, h of them different, share it with probability 1 - h / d.
//   minhash       the set bit that comes first in a random order of all (Broder 1997, "On the resemblance and containment of documents"): two rows share it with
//                 probability |a and b| / |a or b|.
//
// Keys are sums, as in hash/vector_hash.hpp. Probing flips sampled bits, one as good as the other; of minhash it takes the bit that comes next, which is the first of
// a row that lacks the first.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "kith/core/random.hpp"
#include "kith/core/types.hpp"
#include "kith/hash/probes.hpp"

namespace kith {

enum class BitFamily : std::uint8_t { bit_sampling, minhash };

/// Tables x functions. Copyable; const members may be called from many threads.
class BitHash {
public:
    struct Scratch {
        std::vector<std::array<std::uint64_t, 3>> first;  // of each function: the least numbers that set bits have in its order
    };

    BitHash() = default;

    /// Of rows of `bytes` bytes. `functions` (1 to 64) make a key.
    BitHash(BitFamily family, std::size_t bytes, std::size_t tables, std::size_t functions, std::uint64_t seed)
        : family_(family), row_bytes_(bytes), tables_(tables), functions_(functions), orders_(seed, 0x6d696e) {
        if (family == BitFamily::minhash) return;
        const Random random(seed, 0x62697473);
        places_.resize(tables * functions);
        for (std::size_t i = 0; i < places_.size(); ++i) places_[i] = static_cast<std::uint32_t>(random.below(i, 8 * bytes));
    }

    BitFamily family() const noexcept { return family_; }
    std::size_t tables() const noexcept { return tables_; }
    std::size_t functions() const noexcept { return functions_; }
    std::size_t bytes() const noexcept { return places_.size() * sizeof(std::uint32_t); }
    std::size_t key_bits() const noexcept { return family_ == BitFamily::bit_sampling ? functions_ : 64; }

    void keys(const Bits8* x, std::uint64_t* out, Scratch& scratch) const {
        if (family_ == BitFamily::minhash) find_first(x, scratch);
        for (std::size_t t = 0; t < tables_; ++t) {
            std::uint64_t key = 0;
            for (std::size_t f = 0; f < functions_; ++f) {
                const std::size_t i = t * functions_ + f;
                if (family_ == BitFamily::bit_sampling) key |= bit(x, places_[i]) << f;
                else key += digit(scratch.first[i][0], f);
            }
            out[t] = key;
        }
    }

    void query(const Bits8* x, HashedQuery& out, Scratch& scratch) const {
        out.begin(tables_);
        keys(x, out.keys.data(), scratch);
        for (std::size_t t = 0; t < tables_; ++t) {
            for (std::size_t f = 0; f < functions_; ++f) {
                const std::size_t i = t * functions_ + f;
                const auto function = static_cast<std::uint32_t>(f);
                if (family_ == BitFamily::bit_sampling) {
                    const std::uint64_t one = std::uint64_t{1} << f;
                    out.perturbations.push_back({1.0f, function, (out.keys[t] & one) != 0 ? std::uint64_t{0} - one : one});
                } else {
                    for (std::size_t next = 1; next < scratch.first[i].size() && scratch.first[i][next] != none; ++next)
                        out.perturbations.push_back({static_cast<float>(next), function, digit(scratch.first[i][next], f) - digit(scratch.first[i][0], f)});
                }
            }
            out.end_table();
        }
    }

private:
    static constexpr std::uint64_t none = std::numeric_limits<std::uint64_t>::max();

    static std::uint64_t bit(const Bits8* x, std::size_t place) noexcept { return (x[place / 8].bits >> (7 - place % 8)) & 1u; }

    /// A place's number in the order of a function is mixed with the function's place in the key.
    static std::uint64_t digit(std::uint64_t number, std::size_t function) noexcept { return detail::mix64(number + function * 0x9E3779B97F4A7C15ull); }

    void find_first(const Bits8* x, Scratch& scratch) const {
        scratch.first.assign(tables_ * functions_, {none, none, none});
        for (std::size_t byte = 0; byte < row_bytes_; ++byte)
            for (unsigned bits = x[byte].bits; bits != 0; bits &= bits - 1) {
                const std::uint64_t place = orders_.bits(8 * byte + static_cast<std::size_t>(std::countr_zero(bits)));
                for (std::size_t i = 0; i < scratch.first.size(); ++i) {
                    const std::uint64_t number = detail::mix64(place ^ (i * 0xD1342543DE82EF95ull));
                    auto& least = scratch.first[i];
                    if (number >= least[2]) continue;
                    std::size_t at = 2;
                    for (; at > 0 && number < least[at - 1]; --at) least[at] = least[at - 1];
                    least[at] = number;
                }
            }
    }

    BitFamily family_ = BitFamily::bit_sampling;
    std::size_t row_bytes_ = 0;
    std::size_t tables_ = 0;
    std::size_t functions_ = 0;
    Random orders_{0};
    std::vector<std::uint32_t> places_;
};

}  // namespace kith
