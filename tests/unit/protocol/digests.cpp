// Reads bytes from stdin and prints SHA-256 and MD2 of each of its beginnings, one line each: for
// test_protocol.py.
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <vector>

#include "protocol/sha256.hpp"
#include "src/md2.hpp"

int main() {
  const std::vector<char> input{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  for (std::size_t length = 0; length <= input.size(); ++length) {
    const auto sha = tfusion::protocol::sha256(std::as_bytes(std::span(input.data(), length)));
    for (const std::uint8_t byte : sha) std::printf("%02x", byte);
    std::printf(" ");
    const auto md2 = tfusion::hook::md2({reinterpret_cast<const std::uint8_t*>(input.data()), length});
    for (const std::uint8_t byte : md2) std::printf("%02x", byte);
    std::printf("\n");
  }
}
