#include "layout.h"

#include <cstddef>

#include "abi.h"
#include "formats.h"
#include "op-view.h"

namespace rf {

namespace {

// A slot as it stands in the list of its array, for example "out:update" or "q_norm?".
std::string slot_text(const Slot& slot) {
  const std::string name(slot.name);
  switch (slot.kind) {
    case SlotKind::IN: return name + ":in";
    case SlotKind::OUT: return name + ":out";
    case SlotKind::UPDATE: return name + ":update";
    case SlotKind::OPTIONAL: return name + "?";
    default: return name;
  }
}

// "op.ATTENTION.dims=n_heads,n_kv_heads,head_dim,window;" and so on, for each array of the record.
std::string slots_text(const OpInfo& op) {
  constexpr struct {
    SlotKind kind;
    const char* name;
  } arrays[] = {{SlotKind::IN, "buffers"},   {SlotKind::TENSOR, "tensors"}, {SlotKind::DIM, "dims"},
                {SlotKind::FLOAT, "floats"}, {SlotKind::FLAG, "flags"},     {SlotKind::CACHE, "cache"}};
  std::string text;
  for (const auto& array : arrays) {
    std::string list;
    for (size_t i = 0; i < op.n_slots; i++)
      if (same_array(op.slots[i].kind, array.kind)) list += (list.empty() ? "" : ",") + slot_text(op.slots[i]);
    text += std::string("op.") + op.name + "." + array.name + "=" + list + ";";
  }
  return text;
}

}  // namespace

std::string layout_text() {
  std::string text;
  const auto add = [&](const std::string& name, size_t value) { text += name + "=" + std::to_string(value) + ";"; };
  add("abi", RF_ABI_VERSION);
  add("constant.BLOCK_SIZE", RF_BLOCK_SIZE);
  add("constant.MAX_TOP_LOGPROBS", RF_MAX_TOP_LOGPROBS);
  add("rows.FIXED", RF_ROWS_FIXED), add("rows.TOKENS", RF_ROWS_TOKENS), add("rows.OUTPUTS", RF_ROWS_OUTPUTS);
  add("dtype.f32", RF_F32), add("dtype.f16", RF_F16), add("dtype.q8_0", RF_Q8_0);
  add("compute.f32", RF_COMPUTE_F32), add("compute.f16", RF_COMPUTE_F16), add("compute.bf16", RF_COMPUTE_BF16);
#define X(name, value) add("status." #name, value);
  RF_STATUSES(X)
#undef X

#define SIZE(type) add(#type ".size", sizeof(type))
#define FIELD(type, field) add(#type "." #field, offsetof(type, field))
  SIZE(RfTensor);
  FIELD(RfTensor, format), FIELD(RfTensor, file), FIELD(RfTensor, offset), FIELD(RfTensor, n_bytes), FIELD(RfTensor, rows),
      FIELD(RfTensor, cols);
  SIZE(RfBuffer);
  FIELD(RfBuffer, rows_kind), FIELD(RfBuffer, fixed_rows), FIELD(RfBuffer, width), FIELD(RfBuffer, dtype), FIELD(RfBuffer, offset);
  SIZE(RfCache);
  FIELD(RfCache, n_kv_heads), FIELD(RfCache, head_dim), FIELD(RfCache, dtype);
  SIZE(RfOp);
  FIELD(RfOp, kind), FIELD(RfOp, flags), FIELD(RfOp, buf), FIELD(RfOp, tensor), FIELD(RfOp, cache), FIELD(RfOp, dim),
      FIELD(RfOp, f);
  SIZE(RfContextDesc);
  FIELD(RfContextDesc, n_threads), FIELD(RfContextDesc, max_tokens), FIELD(RfContextDesc, max_seqs),
      FIELD(RfContextDesc, max_outputs), FIELD(RfContextDesc, n_blocks), FIELD(RfContextDesc, block_size),
      FIELD(RfContextDesc, arena_bytes), FIELD(RfContextDesc, compute), FIELD(RfContextDesc, deterministic);
  SIZE(RfStepHeader);
  FIELD(RfStepHeader, version), FIELD(RfStepHeader, n_tokens), FIELD(RfStepHeader, n_seqs), FIELD(RfStepHeader, n_outputs),
      FIELD(RfStepHeader, off_tokens), FIELD(RfStepHeader, off_seqs), FIELD(RfStepHeader, off_outputs),
      FIELD(RfStepHeader, off_blocks), FIELD(RfStepHeader, n_block_ids), FIELD(RfStepHeader, off_pairs),
      FIELD(RfStepHeader, n_pairs), FIELD(RfStepHeader, off_masks), FIELD(RfStepHeader, n_mask_words);
  SIZE(RfStepSeq);
  FIELD(RfStepSeq, row_start), FIELD(RfStepSeq, n_rows), FIELD(RfStepSeq, kv_len), FIELD(RfStepSeq, block_start);
  SIZE(RfStepOutput);
  FIELD(RfStepOutput, row), FIELD(RfStepOutput, temperature), FIELD(RfStepOutput, top_k), FIELD(RfStepOutput, top_p),
      FIELD(RfStepOutput, min_p), FIELD(RfStepOutput, repeat_penalty), FIELD(RfStepOutput, frequency_penalty),
      FIELD(RfStepOutput, presence_penalty), FIELD(RfStepOutput, seed_lo), FIELD(RfStepOutput, seed_hi),
      FIELD(RfStepOutput, counter), FIELD(RfStepOutput, n_top), FIELD(RfStepOutput, penalty_start),
      FIELD(RfStepOutput, n_penalties), FIELD(RfStepOutput, bias_start), FIELD(RfStepOutput, n_biases),
      FIELD(RfStepOutput, mask_start), FIELD(RfStepOutput, mask_words), FIELD(RfStepOutput, typical_p),
      FIELD(RfStepOutput, top_n_sigma), FIELD(RfStepOutput, xtc_probability), FIELD(RfStepOutput, xtc_threshold),
      FIELD(RfStepOutput, dynatemp_range), FIELD(RfStepOutput, dynatemp_exponent), FIELD(RfStepOutput, min_keep),
      FIELD(RfStepOutput, temperature_last), FIELD(RfStepOutput, mirostat), FIELD(RfStepOutput, mirostat_mu);
  SIZE(RfPair);
  FIELD(RfPair, token), FIELD(RfPair, value);
  SIZE(RfStepResult);
  FIELD(RfStepResult, token), FIELD(RfStepResult, logprob), FIELD(RfStepResult, n_top), FIELD(RfStepResult, surprise),
      FIELD(RfStepResult, top_tokens), FIELD(RfStepResult, top_logprobs);
  SIZE(RfDeviceInfo);
  FIELD(RfDeviceInfo, name), FIELD(RfDeviceInfo, arch), FIELD(RfDeviceInfo, driver), FIELD(RfDeviceInfo, memory_total),
      FIELD(RfDeviceInfo, memory_free), FIELD(RfDeviceInfo, n_compute_units), FIELD(RfDeviceInfo, lanes);
  SIZE(RfContextInfo);
  FIELD(RfContextInfo, arena_bytes), FIELD(RfContextInfo, cache_bytes), FIELD(RfContextInfo, scratch_bytes),
      FIELD(RfContextInfo, n_threads);
#undef SIZE
#undef FIELD

  for (const OpInfo& op : kOps) {
    add(std::string("op.") + op.name, op.kind);
    text += slots_text(op);
  }
#define X(name, value) add("flag." #name, value);
  RF_OP_FLAGS(X)
#undef X
#define X(id, name, elems, bytes) text += "format." #name "=" #id "," #elems "," #bytes ";";
  RF_FORMATS(X)
#undef X
  return text;
}

}  // namespace rf
