// Handles: what is packed is unpacked, and a number that is none is known as such. And the worker's table of
// them.
#include "protocol/handle.hpp"

#include <cstdint>
#include <random>
#include <set>
#include <string>

#include "check.hpp"
#include "replay/object_table.hpp"

using namespace tfusion::protocol;
using tfusion::replay::ObjectTable;

namespace {

std::uint64_t event(std::uint32_t index, std::uint16_t generation = 1) {
  return pack({HandleKind::event, generation, index});
}

}  // namespace

TEST(what_is_packed_is_unpacked) {
  std::set<std::uint64_t> seen;
  for (std::uint8_t kind = 1; kind < kHandleKinds; ++kind) {
    for (const std::uint32_t index : {0u, 1u, 2u, 4095u, 4096u, kMaxHandleIndex - 1}) {
      for (const unsigned number : {0u, 1u, 2u, 0x7ffu, 0xfffu}) {
        const auto generation = static_cast<std::uint16_t>(number);
        const std::uint64_t value = pack({static_cast<HandleKind>(kind), generation, index});
        const Handle back = unpack(value);
        CHECK_EQ(back.kind, static_cast<HandleKind>(kind));
        CHECK_EQ(back.generation, generation);
        CHECK_EQ(back.index, index);
        CHECK(seen.insert(value).second);
        CHECK_EQ(value & 15, 0u);                // as programs expect of a pointer
        CHECK(value >= std::uint64_t{1} << 44);  // none is 0, 1 or 2
      }
    }
  }
}

TEST(a_generation_wraps_within_its_bits) {
  CHECK_EQ(pack({HandleKind::event, 0x1001, 5}), pack({HandleKind::event, 0x001, 5}));
}

TEST(numbers_that_are_no_handles) {
  const std::uint64_t good = pack({HandleKind::stream, 3, 7});
  CHECK_EQ(unpack(good).kind, HandleKind::stream);
  for (const std::uint64_t bad :
       {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{2}, ~std::uint64_t{0}, good + 1, good + 8,
        good + 15, good & ((std::uint64_t{1} << 44) - 1),       // no kind
        (std::uint64_t{kHandleKinds} << 44) | (good & 0xfff0),  // a kind too many
        good | (std::uint64_t{1} << 60),                        // bits above the kind
        pack({HandleKind::stream, 0, kMaxHandleIndex}),         // the first place too many
        pack({HandleKind::stream, 0, 0xfffffff})}) {
    CHECK_EQ(unpack(bad).kind, HandleKind::none);
  }
}

TEST(any_number_is_a_handle_that_packs_to_itself_or_none) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 200'000; ++i) {
    const std::uint64_t value = random() >> (random() % 20);
    const Handle handle = unpack(value);
    if (handle.kind != HandleKind::none) CHECK_EQ(pack(handle), value);
  }
}

TEST(a_table_finds_what_lives_in_it_and_nothing_else) {
  ObjectTable<int> table(HandleKind::event, 100);
  CHECK(table.vacant(event(3)));
  table.put(event(3), 42);
  CHECK(!table.vacant(event(3)));
  CHECK(!table.vacant(event(3, 2)));  // of another generation, but the place is taken
  CHECK(table.find(event(3)) != nullptr && *table.find(event(3)) == 42);
  CHECK(table.find(event(3, 2)) == nullptr);
  CHECK(table.find(event(2)) == nullptr);
  CHECK(table.find(event(4)) == nullptr);
  CHECK(table.find(pack({HandleKind::stream, 1, 3})) == nullptr);
  CHECK(table.find(0) == nullptr && table.find(~std::uint64_t{0}) == nullptr);
  CHECK_EQ(table.take(event(3)), 42);
  CHECK(table.find(event(3)) == nullptr);
  CHECK(table.vacant(event(3)));
}

TEST(a_table_takes_neither_another_kind_nor_far_places_nor_too_many) {
  ObjectTable<int> table(HandleKind::event, 10'000);
  CHECK(!table.vacant(pack({HandleKind::stream, 1, 0})));
  CHECK(!table.vacant(0));
  CHECK(!table.vacant(event(9'000)));  // far beyond what lives: it would only cost memory
  CHECK(!table.has_room(event(10'000)) && !table.has_room(event(100'000)));
  std::uint32_t made = 0;
  while (table.vacant(event(made)) && table.has_room(event(made))) table.put(event(made), 1), ++made;
  CHECK_EQ(made, 10'000u);
  CHECK(table.vacant(event(made)));
  CHECK(!table.has_room(event(made)));
  table.take(event(17));
  CHECK(table.vacant(event(17)) && table.has_room(event(17)));
}

TEST(forgetting_by_predicate) {
  ObjectTable<std::string> table(HandleKind::event, 100);
  for (std::uint32_t i = 0; i < 10; ++i) table.put(event(i), i % 2 == 0 ? "even" : "odd");
  table.forget_if([](const std::string& text) { return text == "even"; });
  int left = 0;
  table.for_each([&](const std::string& text) { CHECK_EQ(text, "odd"), ++left; });
  CHECK_EQ(left, 5);
  CHECK(table.vacant(event(0)) && table.find(event(0)) == nullptr && table.find(event(1)) != nullptr);
}
