// Module images of all sessions of a host, by content: a folder of files named by their SHA-256, written by
// workers only. A file appears under its name when its bytes have been hashed here, so no client can put code
// behind another image's name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "protocol/sha256.hpp"

namespace tfusion::replay {

// A cached image, mapped read-only while this lives. A NUL lies behind its last byte: drivers look for the
// end of text.
class Image {
 public:
  // Takes over a mapping of at least bytes + 1.
  Image(void* memory, std::size_t bytes, std::size_t mapped)
      : memory_(memory), bytes_(bytes), mapped_(mapped) {}
  ~Image();
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;
  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(memory_), bytes_}; }

 private:
  void* memory_;
  std::size_t bytes_;
  std::size_t mapped_;
};

class ImageCache {
 public:
  static constexpr std::uint64_t kMaxImageBytes = 2ull << 30;
  static constexpr std::size_t kMaxUploads = 8;  // begun and not finished, of one session
  // What one session may write in its life; the daemon prunes the folder only now and then.
  static constexpr std::uint64_t kMaxSessionBytes = 16ull << 30;
  static constexpr std::uint64_t kFileBytes =
      64 * 1024;  // what a file costs besides its bytes, in that reckoning

  // Precondition: `folder` exists and is the worker's own user's alone.
  explicit ImageCache(std::string folder, std::uint64_t most_bytes = kMaxSessionBytes)
      : folder_(std::move(folder)), most_bytes_(most_bytes) {}
  ~ImageCache() { abandon(); }

  // nullptr if the cache does not hold it.
  std::shared_ptr<const Image> find(const protocol::Digest& digest, std::uint64_t bytes) const;

  // Gives up what was begun and not finished, and removes it from the disk.
  void abandon();

  enum class Stored { more, complete, refused };
  // Takes the next piece of an image of `total` bytes; pieces come in order. Refused: out of order, too
  // large, too many uploads at once or in all, the disk is full, or the bytes do not have that digest.
  Stored store(const protocol::Digest& digest, std::uint64_t total, std::uint64_t offset,
               std::span<const std::byte> piece);

 private:
  struct Upload {
    int descriptor = -1;
    std::string path;
    std::uint64_t total = 0, have = 0;
    protocol::Sha256 hash;
  };
  std::string path_of(const protocol::Digest& digest) const;
  void drop(std::map<protocol::Digest, Upload>::iterator upload);

  std::string folder_;
  std::map<protocol::Digest, Upload> uploads_;
  std::uint64_t most_bytes_;
  std::uint64_t written_ = 0;  // at most most_bytes_
};

}  // namespace tfusion::replay
