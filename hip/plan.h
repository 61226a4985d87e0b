// A plan that has been checked once against its model, buffers and caches, so that running it needs no checks.
#pragma once
#include <memory>
#include <vector>

#include "abi.h"
#include "model.h"
#include "ops.h"

namespace rf {

struct Plan {
  std::vector<RfOp> ops;
  std::vector<RfBuffer> buffers;
  std::vector<RfCache> caches;
  RfContextDesc desc{};
  uint32_t n_vocab = 0;       // rows of the smallest embedding table: token ids are less; 0 without an EMBED
  uint32_t sample_width = 0;  // columns of the logits that SAMPLE reads; 0 without a SAMPLE

  // Rows that a buffer has room for.
  uint64_t max_rows(const RfBuffer& buffer) const;
};

Plan validate_plan(const Model& model, const RfContextDesc& desc, const RfOp* ops, uint64_t n_ops, const RfBuffer* buffers,
                   uint64_t n_buffers, const RfCache* caches, uint64_t n_caches);

}  // namespace rf
