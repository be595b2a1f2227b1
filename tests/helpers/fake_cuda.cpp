// Tells torch that it is built with CUDA and that there is one GPU, on which nothing ever has to be waited for.
//
// Autograd asks for the current stream of a tensor's device and records events there. A build without CUDA, or a machine
// without a GPU, has no answer. This file gives one; tensors of that device are made in fake_cuda.py.
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <cstring>
#include <new>

namespace {

using c10::Device;
using c10::DeviceType;
using c10::Stream;

struct Guard final : c10::impl::NoOpDeviceGuardImpl<DeviceType::CUDA> {
  Device getDevice() const override { return Device(DeviceType::CUDA, 0); }
  Device exchangeDevice(Device) const override { return getDevice(); }
  Stream getStream(Device) const noexcept override { return Stream(Stream::DEFAULT, getDevice()); }
  Stream exchangeStream(Stream) const noexcept override { return getStream(getDevice()); }
  void record(void**, const Stream&, c10::DeviceIndex, c10::EventFlag) const override {}
  void block(void*, const Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
};

struct Hooks final : at::CUDAHooksInterface {
  bool isBuilt() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
};

// Torch makes its hooks at the first question and keeps them. They have no members, so one that is there can become
// another, and what it was can be kept as it is.
auto* hooks = const_cast<at::CUDAHooksInterface*>(&at::detail::getCUDAHooks());
auto& guard = c10::impl::device_guard_impl_registry[static_cast<std::size_t>(DeviceType::CUDA)];

unsigned char hooks_before[sizeof(Hooks)];
const c10::impl::DeviceGuardImplInterface* guard_before;

}  // namespace

extern "C" void install() {
  static const Guard fake_guard;
  guard_before = guard;
  guard = &fake_guard;
  std::memcpy(hooks_before, hooks, sizeof(Hooks));
  new (hooks) Hooks;
}

extern "C" void uninstall() {
  guard = guard_before;
  std::memcpy(static_cast<void*>(hooks), hooks_before, sizeof(Hooks));
}
