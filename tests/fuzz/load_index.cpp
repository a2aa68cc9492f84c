// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as an index: opened, loaded, validated, searched, changed, compacted, saved and loaded again. They are tried as they are and, so that
// the checksums do not hide what lies behind them, once more with those of header and table put right. Nothing but kith::Error may come out;
// what loads must be safe to use and must give every query its results, whether it validates or not, and must survive being saved. What
// validates must still do so after every change.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "kith/any/registry.hpp"

namespace {

using namespace kith;  // NOLINT

constexpr std::size_t most_elements = 1 << 16;  // of a query: a file of no rows may claim billions of dimensions

void require(bool right) {
    if (!right) std::abort();
}

void search(const AnyIndex& index, const std::vector<std::uint64_t>& zeros) {
    const AnyMatrix query{index.element_type(), zeros.data(), 1, index.dim(), index.dim()};
    const auto near = index.search(query, 3);
    require(near.count(0) == std::min<std::size_t>(3, index.size()));
    const AnyMatrix five{index.element_type(), zeros.data(), 5, index.dim(), index.dim()};
    require(index.search(five, 3).count(4) == near.count(0));
    for (const auto& param : index.search_params())  // as little as may be asked for
        if (param.type == "int") require(index.search(query, 3, {{param.name, std::int64_t{1}}}).count(0) == near.count(0));
    const auto context = index.context();
    const auto within = index.range_search(query, 1.0, {}, {}, inline_executor(), *context);
    require(within.ids.size() <= index.size());
    const BitsetView nothing;
    require(index.search(query, 3, {}, std::span(&nothing, 1)).count(0) == 0);
    auto cursor = index.iterate(query);
    require(cursor.next(index.size() + 1).ids.size() == index.size());
}

/// Every row, and every other slot, as filters.
void search_filtered(const AnyIndex& index, const std::vector<std::uint64_t>& zeros) {
    const AnyMatrix query{index.element_type(), zeros.data(), 1, index.dim(), index.dim()};
    const Bitset live = index.live_slots();
    Bitset some(index.slots());
    std::size_t eligible = 0;
    for (std::size_t slot = 0; slot < index.slots(); slot += 2) {
        some.set(slot);
        eligible += live.test(slot) ? 1 : 0;
    }
    const auto context = index.context();
    for (const auto& [bits, count] : {std::pair{live.view(), index.size()}, std::pair{some.view(), eligible}}) {
        require(index.search(query, 3, {}, std::span(&bits, 1)).count(0) == std::min<std::size_t>(3, count));
        require(index.range_search(query, 1.0, {}, std::span(&bits, 1), inline_executor(), *context).ids.size() <= count);
    }
}

AnyIndex reload(const std::vector<std::byte>& bytes) {
    auto buffer = std::make_shared<AlignedBuffer<std::byte>>(bytes.size());
    std::copy(bytes.begin(), bytes.end(), buffer->begin());
    return AnyIndex::load(SectionReader(buffer->span(), "saved", buffer, Checksums::verify));
}

bool validates(const AnyIndex& index) {
    try {
        index.validate("fuzz");
    } catch (const Error&) {
        return false;
    }
    return true;
}

AnyMatrix rows_of(const AnyIndex& index, std::size_t count, const std::vector<std::uint64_t>& zeros) {
    return {index.element_type(), zeros.data(), count, index.dim(), index.dim()};
}

void remove_and_replace(AnyIndex& index, const std::vector<std::uint64_t>& zeros) {
    if (index.size() == 0) return;
    std::vector<Id> ids(index.size());
    index.copy_ids(ids);
    index.remove(std::vector<Id>{ids[0]});
    require(!index.contains(ids[0]));
    if (ids.size() > 1) index.add(rows_of(index, 1, zeros), std::vector<Id>{ids.back()});
    require(index.size() == ids.size() - 1);
}

void add(AnyIndex& index, const std::vector<std::uint64_t>& zeros) {
    index.add(rows_of(index, 1, zeros));
    index.add(rows_of(index, 5, zeros));
}

void compact(AnyIndex& index, const std::vector<std::uint64_t>&) { index.compact(); }

void rebalance(AnyIndex& index, const std::vector<std::uint64_t>&) { index.rebalance(); }  // refused by most kinds

void use(AnyIndex loaded) {
    const bool good = validates(loaded);
    const auto bytes = loaded.to_bytes();
    require(reload(bytes).to_bytes() == bytes);
    if (loaded.dim() > most_elements) return;
    const std::vector<std::uint64_t> zeros(5 * loaded.dim() + 8);  // of any element type
    search(loaded, zeros);
    search_filtered(loaded, zeros);
    // What comes first finds the index as it was loaded.
    constexpr std::array changes{remove_and_replace, add, compact, rebalance};
    for (std::size_t first = 0; first < changes.size(); ++first) {
        AnyIndex index = reload(bytes);
        for (std::size_t i = 0; i < changes.size(); ++i) {
            try {
                changes[(first + i) % changes.size()](index, zeros);
            } catch (const Error&) {  // damaged links are not changed, and no ids may be left above the largest
            }
            search(index, zeros);
            search_filtered(index, zeros);
            require(!good || validates(index));
        }
        reload(index.to_bytes());
    }
}

void open(std::span<const std::byte> bytes, Checksums checksums) {
    try {
        use(AnyIndex::load(SectionReader(bytes, "fuzz", {}, checksums)));
    } catch (const Error&) {
    }
}

void seal(std::span<std::byte> bytes) {
    FileHeader header;
    if (bytes.size() < sizeof header) return;
    std::memcpy(&header, bytes.data(), sizeof header);
    header.magic = file_magic;
    header.byte_order = file_byte_order;
    header.version_major = 1;
    header.file_size = bytes.size();
    const std::size_t table =
        std::min<std::size_t>(std::size_t{header.section_count} * sizeof(SectionEntry), bytes.size() - sizeof header);
    header.table_crc = crc32c(bytes.subspan(sizeof header, table));
    header.header_crc = crc32c(std::as_bytes(std::span(&header, 1)).first(offsetof(FileHeader, header_crc)));
    std::memcpy(bytes.data(), &header, sizeof header);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    AlignedBuffer<std::byte> buffer(size);
    if (size != 0) std::memcpy(buffer.data(), data, size);
    open(buffer.span(), Checksums::verify);
    seal(buffer.span());
    open(buffer.span(), Checksums::skip);
    return 0;
}
