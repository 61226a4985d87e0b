#include "inflate.h"

#include <cstring>

namespace rf {
namespace gpu {

namespace {

// Bits are taken from the lowest of each byte on; beyond the end of the data come zeros, and `ok` turns false.
class Bits {
 public:
  Bits(const uint8_t* data, size_t n) : at_(data), end_(data + n) {}

  uint32_t take(int count) {
    while (held_ < count) {
      if (at_ < end_) bits_ |= uint64_t(*at_++) << held_;
      else ok = false;
      held_ += 8;
    }
    const auto value = uint32_t(bits_ & ((uint64_t(1) << count) - 1));
    bits_ >>= count;
    held_ -= count;
    return value;
  }
  // To the next whole byte, then `n` bytes as they are.
  bool copy(uint8_t* out, size_t n) {
    take(held_ % 8);
    for (; n && held_; n--) *out++ = uint8_t(take(8));
    if (size_t(end_ - at_) < n) return false;
    memcpy(out, at_, n);
    at_ += n;
    return true;
  }

  bool ok = true;

 private:
  const uint8_t *at_, *end_;
  uint64_t bits_ = 0;
  int held_ = 0;
};

// A canonical Huffman code: codes of one length are consecutive numbers, in the order of their symbols.
class Code {
 public:
  // length[s]: bits of symbol s, 0 for one that does not occur.
  Code(const uint8_t* length, int n) {
    for (int s = 0; s < n; s++) count_[length[s]]++;
    count_[0] = 0;
    uint16_t first[kLongest + 2] = {};
    for (int l = 1; l <= kLongest; l++) first[l + 1] = uint16_t(first[l] + count_[l]);
    for (int s = 0; s < n; s++)
      if (length[s]) symbol_[first[length[s]]++] = uint16_t(s);
  }
  // -1: no such code.
  int decode(Bits& bits) const {
    int code = 0, first = 0, index = 0;
    for (int l = 1; l <= kLongest; l++) {
      code |= int(bits.take(1));
      if (code - first < count_[l]) return symbol_[index + code - first];
      index += count_[l];
      first = (first + count_[l]) * 2;
      code *= 2;
    }
    return -1;
  }

 private:
  static constexpr int kLongest = 15;
  uint16_t count_[kLongest + 1] = {};
  uint16_t symbol_[288] = {};
};

struct Extra {  // a base value, and how many bits are added to it
  uint16_t base;
  uint8_t bits;
};
constexpr Extra kLengths[29] = {{3, 0},  {4, 0},  {5, 0},  {6, 0},   {7, 0},   {8, 0},   {9, 0},   {10, 0},  {11, 1}, {13, 1},
                                {15, 1}, {17, 1}, {19, 2}, {23, 2},  {27, 2},  {31, 2},  {35, 3},  {43, 3},  {51, 3}, {59, 3},
                                {67, 4}, {83, 4}, {99, 4}, {115, 4}, {131, 5}, {163, 5}, {195, 5}, {227, 5}, {258, 0}};
constexpr Extra kDistances[30] = {{1, 0},     {2, 0},     {3, 0},     {4, 0},      {5, 1},      {7, 1},     {9, 2},     {13, 2},
                                  {17, 3},    {25, 3},    {33, 4},    {49, 4},     {65, 5},     {97, 5},    {129, 6},   {193, 6},
                                  {257, 7},   {385, 7},   {513, 8},   {769, 8},    {1025, 9},   {1537, 9},  {2049, 10}, {3073, 10},
                                  {4097, 11}, {6145, 11}, {8193, 12}, {12289, 12}, {16385, 13}, {24577, 13}};

class Output {
 public:
  Output(uint8_t* out, size_t size) : begin_(out), at_(out), end_(out + size) {}
  bool literal(int byte) {
    if (at_ == end_) return false;
    *at_++ = uint8_t(byte);
    return true;
  }
  bool stored(Bits& bits, size_t n) {
    if (size_t(end_ - at_) < n || !bits.copy(at_, n)) return false;
    at_ += n;
    return true;
  }
  // Byte by byte: a repeat may overlap what it writes.
  bool repeat(size_t distance, size_t length) {
    if (distance > size_t(at_ - begin_) || length > size_t(end_ - at_)) return false;
    for (; length; length--, at_++) *at_ = at_[-ptrdiff_t(distance)];
    return true;
  }
  bool full() const { return at_ == end_; }

 private:
  uint8_t *begin_, *at_, *end_;
};

bool compressed_block(Bits& bits, const Code& symbols, const Code& distances, Output& out) {
  while (bits.ok) {
    const int symbol = symbols.decode(bits);
    if (symbol < 0 || symbol > 285) return false;
    if (symbol == 256) return true;
    if (symbol < 256) {
      if (!out.literal(symbol)) return false;
      continue;
    }
    const Extra length = kLengths[symbol - 257];
    const size_t n = length.base + bits.take(length.bits);
    const int d = distances.decode(bits);
    if (d < 0 || d > 29) return false;
    if (!out.repeat(kDistances[d].base + bits.take(kDistances[d].bits), n)) return false;
  }
  return false;
}

bool fixed_block(Bits& bits, Output& out) {
  uint8_t length[288], distance[30];
  for (int s = 0; s < 288; s++) length[s] = s < 144 ? 8 : s < 256 ? 9 : s < 280 ? 7 : 8;
  memset(distance, 5, sizeof distance);
  return compressed_block(bits, Code(length, 288), Code(distance, 30), out);
}

// Its two codes come first, their lengths themselves coded.
bool dynamic_block(Bits& bits, Output& out) {
  constexpr uint8_t order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
  const int n_symbols = int(bits.take(5)) + 257, n_distances = int(bits.take(5)) + 1, n_codes = int(bits.take(4)) + 4;
  if (n_symbols > 286 || n_distances > 30) return false;
  uint8_t meta[19] = {}, length[286 + 30] = {};
  for (int i = 0; i < n_codes; i++) meta[order[i]] = uint8_t(bits.take(3));
  const Code lengths(meta, 19);
  for (int i = 0; i < n_symbols + n_distances;) {
    const int symbol = lengths.decode(bits);
    if (symbol < 0 || !bits.ok) return false;
    if (symbol < 16) {
      length[i++] = uint8_t(symbol);
      continue;
    }
    if (symbol == 16 && i == 0) return false;
    const uint8_t value = symbol == 16 ? length[i - 1] : 0;
    int times = symbol == 16 ? 3 + int(bits.take(2)) : symbol == 17 ? 3 + int(bits.take(3)) : 11 + int(bits.take(7));
    if (times > n_symbols + n_distances - i) return false;
    while (times--) length[i++] = value;
  }
  return compressed_block(bits, Code(length, n_symbols), Code(length + n_symbols, n_distances), out);
}

}  // namespace

bool inflate(const uint8_t* data, size_t n, uint8_t* out, size_t size) {
  Bits bits(data, n);
  Output output(out, size);
  for (bool last = false; !last;) {
    last = bits.take(1);
    const uint32_t kind = bits.take(2);
    bool good;
    if (kind == 0) {
      uint8_t header[4];
      good = bits.copy(header, 4);
      const unsigned length = header[0] | unsigned(header[1]) << 8, check = header[2] | unsigned(header[3]) << 8;
      good = good && (length ^ check) == 0xffff && output.stored(bits, length);
    } else {
      good = kind == 1 ? fixed_block(bits, output) : kind == 2 && dynamic_block(bits, output);
    }
    if (!good || !bits.ok) return false;
  }
  return output.full();
}

}  // namespace gpu
}  // namespace rf
