// Module images of all sessions of a host, by content: a folder of files named by their SHA-256, written by workers
// only. A file appears under its name when its bytes have been hashed here, so no client can put code behind another
// image's name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "protocol/sha256.hpp"

namespace tfusion::replay {

// A cached image, mapped read-only while this lives.
class Image {
 public:
  Image(void* memory, std::size_t bytes) : memory_(memory), bytes_(bytes) {}
  ~Image();
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;
  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(memory_), bytes_}; }

 private:
  void* memory_;
  std::size_t bytes_;
};

class ImageCache {
 public:
  static constexpr std::uint64_t kMaxImageBytes = 2ull << 30;
  static constexpr std::size_t kMaxUploads = 8;  // begun and not finished, of one session

  // Precondition: `folder` exists and is the worker's own user's alone.
  explicit ImageCache(std::string folder) : folder_(std::move(folder)) {}
  ~ImageCache();

  // nullptr if the cache does not hold it.
  std::shared_ptr<const Image> find(const protocol::Digest& digest, std::uint64_t bytes) const;

  enum class Stored { more, complete, refused };
  // Takes the next piece of an image of `total` bytes; pieces come in order. Refused: out of order, too large, too many
  // uploads at once, the disk is full, or the bytes do not have that digest.
  Stored store(const protocol::Digest& digest, std::uint64_t total, std::uint64_t offset, std::span<const std::byte> piece);

 private:
  struct Upload {
    int descriptor = -1;
    std::string path;
    std::uint64_t have = 0;
    protocol::Sha256 hash;
  };
  std::string path_of(const protocol::Digest& digest) const;
  void drop(std::map<protocol::Digest, Upload>::iterator upload);

  std::string folder_;
  std::map<protocol::Digest, Upload> uploads_;
};

}  // namespace tfusion::replay
