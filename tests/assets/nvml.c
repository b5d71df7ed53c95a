// A stub of NVML for tests: two GPUs. The first reports the values in the file "gpu" in the working folder (degrees, free MB, and
// "lost" if it has fallen off the bus: it stays lost until NVML is reopened), the second only its name.
#include <stdio.h>
#include <string.h>

typedef struct { int index; } *Device;
static struct { int index; } gpus[2] = {{0}, {1}};
enum { OK = 0, NOT_SUPPORTED = 3, LOST = 15 };

static int users, is_lost;

static int ask(Device device, unsigned *degrees, unsigned *free_mb) {
    char word[8] = "";
    if (device->index == 1) return NOT_SUPPORTED;
    FILE *file = fopen("gpu", "r");
    if (!file) return NOT_SUPPORTED;
    int found = fscanf(file, "%u %u %7s", degrees, free_mb, word);
    fclose(file);
    if (strcmp(word, "lost") == 0) is_lost = 1;
    return is_lost ? LOST : found >= 2 ? OK : NOT_SUPPORTED;
}

static int say(Device device, unsigned value, unsigned *out) {
    unsigned degrees, free_mb;
    int answer = ask(device, &degrees, &free_mb);
    if (answer == OK) *out = value;
    return answer;
}

int nvmlInit_v2(void) {
    if (!users++) is_lost = 0;
    return OK;
}
int nvmlShutdown(void) {
    users--;
    return OK;
}
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device *device) { *device = (Device)&gpus[index]; return OK; }
int nvmlSystemGetDriverVersion(char *text, unsigned length) { snprintf(text, length, "580.95.05"); return OK; }
int nvmlDeviceGetName(Device device, char *text, unsigned length) { snprintf(text, length, "Stand-in %d", device->index); return OK; }
int nvmlDeviceGetCudaComputeCapability(Device device, int *major, int *minor) { (void)device; *major = 8; *minor = 9; return OK; }

struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char address[32]; };
int nvmlDeviceGetPciInfo_v3(Device device, struct pci *out) {
    memset(out, 0, sizeof *out);
    out->bus = 10 + device->index;
    return OK;
}

struct memory { unsigned version; unsigned long long total, reserved, free, used; };
int nvmlDeviceGetMemoryInfo_v2(Device device, struct memory *out) {
    unsigned degrees, free_mb = 0;
    int answer = ask(device, &degrees, &free_mb);
    out->total = 24000000000ull;
    out->reserved = 500000000ull;
    out->free = free_mb * 1000000ull;
    out->used = out->total - out->reserved - out->free;
    return answer;
}

int nvmlDeviceGetTemperature(Device device, int sensor, unsigned *out) {
    unsigned free_mb;
    (void)sensor;
    return ask(device, out, &free_mb);
}

int nvmlDeviceGetUtilizationRates(Device device, unsigned value[2]) { value[1] = 40; return say(device, 71, &value[0]); }
int nvmlDeviceGetEncoderUtilization(Device device, unsigned *out, unsigned *period) { *period = 1; return say(device, 5, out); }
int nvmlDeviceGetPowerUsage(Device device, unsigned *out) { return say(device, 312500, out); }
int nvmlDeviceGetEnforcedPowerLimit(Device device, unsigned *out) { return say(device, 450000, out); }
int nvmlDeviceGetClockInfo(Device device, int which, unsigned *out) { return say(device, which == 1 ? 2520 : 10501, out); }
int nvmlDeviceGetEncoderSessions(Device device, unsigned *count, void *sessions) { (void)sessions; return say(device, 0, count); }
int nvmlDeviceGetCurrentClocksThrottleReasons(Device device, unsigned long long *out) {
    unsigned value = 0;
    // Idle and thermal slowdown.
    int answer = say(device, 0x1 | 0x40, &value);
    *out = value;
    return answer;
}
