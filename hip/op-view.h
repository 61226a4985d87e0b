// The lists of ops.h in C++: a view of each op, whose members name the slots of its record, and the slots as data.
#pragma once
#include <optional>
#include <string_view>

#include "plan.h"

namespace rf {

enum class SlotKind { IN, OUT, UPDATE, TENSOR, OPTIONAL, DIM, FLOAT, FLAG, CACHE };

constexpr bool is_buffer(SlotKind kind) { return kind == SlotKind::IN || kind == SlotKind::OUT || kind == SlotKind::UPDATE; }
constexpr bool is_tensor(SlotKind kind) { return kind == SlotKind::TENSOR || kind == SlotKind::OPTIONAL; }
// Whether slots of the two kinds lie in the same array of the record.
constexpr bool same_array(SlotKind a, SlotKind b) {
  return a == b || (is_buffer(a) && is_buffer(b)) || (is_tensor(a) && is_tensor(b));
}

struct Slot {
  SlotKind kind;
  std::string_view name;  // of a cache: its access
};

// Where the slot `name` lies in its array of the record: how many slots of that array come before it.
template <size_t N>
constexpr size_t slot_index(const Slot (&slots)[N], std::string_view name) {
  size_t at = 0, before = 0;
  while (slots[at].name != name) at++;
  for (size_t i = 0; i < at; i++) before += same_array(slots[i].kind, slots[at].kind);
  return before;
}

// The number of a tensor in the model's table, or none.
enum class TensorId : int32_t { none = RF_NONE };

// What the views share. Only valid for ops that validate_plan has let in: then every id is inside its table.
class OpView {
 public:
  OpView(const RfOp& record, const Plan& plan) : record_(record), plan_(plan) {}

 protected:
  const RfBuffer& buffer_at(size_t slot) const { return plan_.buffers[size_t(record_.buf[slot])]; }

  const RfOp& record_;
  const Plan& plan_;
};

// A view's members by the kind of the slot. A buffer is the plan's record; `cache` is an index of the plan's caches.
#define RF_MEMBER(KIND, name) RF_MEMBER_##KIND(name)
#define RF_MEMBER_BUFFER(name)                      \
  const RfBuffer& name() const {                    \
    constexpr size_t at = slot_index(slots, #name); \
    return buffer_at(at);                           \
  }
#define RF_MEMBER_IN(name) RF_MEMBER_BUFFER(name)
#define RF_MEMBER_OUT(name) RF_MEMBER_BUFFER(name)
#define RF_MEMBER_UPDATE(name) RF_MEMBER_BUFFER(name)
#define RF_MEMBER_TENSOR(name)                      \
  TensorId name() const {                           \
    constexpr size_t at = slot_index(slots, #name); \
    return TensorId(record_.tensor[at]);            \
  }
#define RF_MEMBER_OPTIONAL(name) RF_MEMBER_TENSOR(name)
#define RF_MEMBER_DIM(name)                         \
  uint32_t name() const {                           \
    constexpr size_t at = slot_index(slots, #name); \
    return uint32_t(record_.dim[at]);               \
  }
#define RF_MEMBER_FLOAT(name)                       \
  float name() const {                              \
    constexpr size_t at = slot_index(slots, #name); \
    return record_.f[at];                           \
  }
#define RF_MEMBER_FLAG(name) \
  bool name() const { return record_.flags & RF_FLAG_##name; }
#define RF_MEMBER_CACHE(access) \
  size_t cache() const { return size_t(record_.cache); }

// EmbedOp, RmsNormOp, …
#define RF_SLOT(KIND, name) {SlotKind::KIND, #name},
#define RF_VIEW(NAME, Name, number)                             \
  struct Name##Op : OpView {                                    \
    static constexpr uint32_t kind = number;                    \
    static constexpr Slot slots[] = {RF_SLOTS_##NAME(RF_SLOT)}; \
    using OpView::OpView;                                       \
    RF_SLOTS_##NAME(RF_MEMBER)                                  \
  };
RF_OPS(RF_VIEW)
#undef RF_VIEW
#undef RF_SLOT
#undef RF_MEMBER
#undef RF_MEMBER_BUFFER
#undef RF_MEMBER_IN
#undef RF_MEMBER_OUT
#undef RF_MEMBER_UPDATE
#undef RF_MEMBER_TENSOR
#undef RF_MEMBER_OPTIONAL
#undef RF_MEMBER_DIM
#undef RF_MEMBER_FLOAT
#undef RF_MEMBER_FLAG
#undef RF_MEMBER_CACHE

// Calls visit(view) with the op's own view. A visitor that has no overload for some op does not compile.
template <class Visitor>
void visit_op(const RfOp& op, const Plan& plan, Visitor visit) {
  switch (op.kind) {
#define X(NAME, Name, number) \
  case number: return visit(Name##Op(op, plan));
    RF_OPS(X)
#undef X
    default: return;  // validate_plan lets no other kind in
  }
}

// The op as a View, where it is of that kind.
template <class View>
std::optional<View> op_as(const RfOp& op, const Plan& plan) {
  if (op.kind != View::kind) return std::nullopt;
  return View(op, plan);
}

struct OpInfo {
  uint32_t kind;
  const char* name;
  const Slot* slots;
  size_t n_slots;
};
constexpr OpInfo kOps[] = {
#define X(NAME, Name, number) {number, #NAME, Name##Op::slots, sizeof Name##Op::slots / sizeof(Slot)},
    RF_OPS(X)
#undef X
};

// A matrix product, whichever op it belongs to. MATMUL has up to three weights; MATMUL_SWIGLU has gate and up.
constexpr uint32_t kProductWeights = 3;
struct Product {
  const RfBuffer *in, *out;
  TensorId weight[kProductWeights], bias[kProductWeights];
  bool add, swiglu;
};
inline Product product_of(const MatmulOp& op) {
  return {&op.in(), &op.out(), {op.w0(), op.w1(), op.w2()}, {op.bias0(), op.bias1(), op.bias2()}, op.add(), false};
}
inline Product product_of(const MatmulSwigluOp& op) {
  constexpr TensorId none = TensorId::none;
  return {&op.in(), &op.out(), {op.gate(), op.up(), none}, {none, none, none}, false, true};
}
inline std::optional<Product> product_of(const RfOp& op, const Plan& plan) {
  if (const auto matmul = op_as<MatmulOp>(op, plan)) return product_of(*matmul);
  if (const auto swiglu = op_as<MatmulSwigluOp>(op, plan)) return product_of(*swiglu);
  return std::nullopt;
}

}  // namespace rf
