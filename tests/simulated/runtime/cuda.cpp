// A stand-in for the CUDA runtime and driver: one device without kernels.
//
// Torch's own CUDA libraries run on it as they are. Streams and events are numbers, nothing is ever
// pending, and "device" memory is host memory that nobody computes on: values live elsewhere
// (device.py). Page-locked host memory is remembered, so that Tensor.is_pinned() answers truly.
//
// One shared library, preloaded before libcudart.so, under the name libcuda.so.1.

#include <driver_types.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

namespace {

const int VERSION = 13000;

size_t total_bytes() {
    const char *given = std::getenv("SIMULATED_BYTES");
    return given ? std::strtoull(given, nullptr, 10) : size_t(24) << 30;
}

template <typename Handle> cudaError_t new_handle(Handle *handle) {
    static std::atomic<size_t> last{0x1000};
    *handle = reinterpret_cast<Handle>(last += 16);
    return cudaSuccess;
}

std::map<const char *, size_t> locked; // page-locked host memory: start -> bytes
std::mutex locked_mutex;

bool is_locked(const void *pointer) {
    std::lock_guard<std::mutex> guard(locked_mutex);
    auto place = static_cast<const char *>(pointer);
    auto after = locked.upper_bound(place);
    if (after == locked.begin()) return false;
    auto block = std::prev(after);
    return place < block->first + block->second;
}

void *allocate(size_t bytes) { return std::aligned_alloc(512, (bytes + 511) / 512 * 512); }

} // namespace

extern "C" {

// --- the device

cudaError_t cudaGetDeviceCount(int *count) { *count = 1; return cudaSuccess; }
cudaError_t cudaGetDevice(int *device) { *device = 0; return cudaSuccess; }
cudaError_t cudaSetDevice(int) { return cudaSuccess; }
cudaError_t cudaDriverGetVersion(int *version) { *version = VERSION; return cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int *version) { *version = VERSION; return cudaSuccess; }
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr, int) { *value = 1; return cudaSuccess; }
cudaError_t cudaDeviceCanAccessPeer(int *can, int, int) { *can = 0; return cudaSuccess; }
cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaPeekAtLastError() { return cudaSuccess; }

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *found, int) {
    std::memset(found, 0, sizeof *found);
    std::strcpy(found->name, "simulated device");
    found->totalGlobalMem = total_bytes();
    found->major = 8;
    found->minor = 9;
    found->multiProcessorCount = 128;
    found->warpSize = 32;
    found->maxThreadsPerBlock = 1024;
    found->maxThreadsPerMultiProcessor = 1536;
    found->sharedMemPerBlock = 48 << 10;
    found->sharedMemPerBlockOptin = 99 << 10;
    found->sharedMemPerMultiprocessor = 100 << 10;
    found->regsPerMultiprocessor = 65536;
    found->l2CacheSize = 72 << 20;
    return cudaSuccess;
}

// --- streams and events: whatever is asked of them is done already

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
    if (least) *least = 0;
    if (greatest) *greatest = -5;
    return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t *stream) { return new_handle(stream); }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) { return new_handle(stream); }
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned, int) { return new_handle(stream); }
cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamQuery(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }
cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus *status) {
    *status = cudaStreamCaptureStatusNone;
    return cudaSuccess;
}
cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus *status, ...) {
    return cudaStreamIsCapturing(stream, status);
}
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode *) { return cudaSuccess; }
cudaError_t cudaEventCreate(cudaEvent_t *event) { return new_handle(event); }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) { return new_handle(event); }
cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaEventRecordWithFlags(cudaEvent_t, cudaStream_t, unsigned) { return cudaSuccess; }
cudaError_t cudaEventQuery(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t, cudaEvent_t) { *ms = 1; return cudaSuccess; }

// --- memory

cudaError_t cudaMemGetInfo(size_t *free, size_t *total) {
    *free = *total = total_bytes(); // what tensors hold is counted in memory.py
    return cudaSuccess;
}
cudaError_t cudaMalloc(void **place, size_t bytes) { *place = allocate(bytes); return cudaSuccess; }
cudaError_t cudaFree(void *place) { std::free(place); return cudaSuccess; }
cudaError_t cudaHostAlloc(void **place, size_t bytes, unsigned) {
    *place = allocate(bytes);
    std::lock_guard<std::mutex> guard(locked_mutex);
    locked[static_cast<const char *>(*place)] = bytes;
    return cudaSuccess;
}
cudaError_t cudaFreeHost(void *place) {
    {
        std::lock_guard<std::mutex> guard(locked_mutex);
        locked.erase(static_cast<const char *>(place));
    }
    std::free(place);
    return cudaSuccess;
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *found, const void *pointer) {
    std::memset(found, 0, sizeof *found);
    found->type = is_locked(pointer) ? cudaMemoryTypeHost : cudaMemoryTypeUnregistered;
    found->device = found->type == cudaMemoryTypeHost ? 0 : -1;
    found->hostPointer = const_cast<void *>(pointer);
    return cudaSuccess;
}

// --- the driver: a context that is there, and names that torch looks up and never calls

int cuInit(unsigned) { return 0; }
int cuDriverGetVersion(int *version) { *version = VERSION; return 0; }
int cuDevicePrimaryCtxGetState(int, unsigned *flags, int *active) {
    *flags = 0;
    *active = 1;
    return 0;
}
#define NEVER_CALLED(name) int name() { return 0; }
NEVER_CALLED(cuCtxGetCurrent)
NEVER_CALLED(cuCtxSetCurrent)
NEVER_CALLED(cuDeviceGet)
NEVER_CALLED(cuDeviceGetAttribute)
NEVER_CALLED(cuDevicePrimaryCtxRetain)
NEVER_CALLED(cuFuncGetAttribute)
NEVER_CALLED(cuFuncSetAttribute)
NEVER_CALLED(cuFuncSetCacheConfig)
NEVER_CALLED(cuGetErrorString)
NEVER_CALLED(cuLaunchCooperativeKernel)
NEVER_CALLED(cuLaunchKernel)
NEVER_CALLED(cuLinkAddData_v2)
NEVER_CALLED(cuLinkComplete)
NEVER_CALLED(cuLinkCreate_v2)
NEVER_CALLED(cuModuleGetFunction)
NEVER_CALLED(cuModuleLoad)
NEVER_CALLED(cuModuleLoadData)
NEVER_CALLED(cuModuleLoadDataEx)
NEVER_CALLED(cuModuleUnload)
NEVER_CALLED(cuOccupancyMaxActiveBlocksPerMultiprocessor)
NEVER_CALLED(cuPointerGetAttribute)
NEVER_CALLED(cuTensorMapEncodeTiled)

} // extern "C"
