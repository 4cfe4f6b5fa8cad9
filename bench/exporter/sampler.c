/* The floor of sampling: wakes so many times a second and asks the GPUs what the exporter asks,
 * through the same library, and adds up what it hears. Usage: sampler HZ; ends by a signal. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { GPUS = 64 };
typedef void *device_t;
typedef struct {
    unsigned field, scope;
    long long timestamp, latency;
    unsigned type;
    int code;
    unsigned long long value;
} field_t;
typedef struct {
    unsigned gpu, memory;
} utilization_t;
typedef struct {
    unsigned version;
    unsigned long long total, reserved, free, used;
} memory_v2_t;

static void *symbol(void *library, const char *name) {
    void *found = dlsym(library, name);
    if (!found) {
        fprintf(stderr, "no %s\n", name);
        exit(1);
    }
    return found;
}

int main(int argc, char **argv) {
    long period = 1000000000L / (argc > 1 ? atol(argv[1]) : 10);
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    int (*init)(unsigned) = symbol(library, "nvmlInitWithFlags");
    int (*get_count)(unsigned *) = symbol(library, "nvmlDeviceGetCount_v2");
    int (*handle)(unsigned, device_t *) = symbol(library, "nvmlDeviceGetHandleByIndex_v2");
    int (*fields)(device_t, int, field_t *) = symbol(library, "nvmlDeviceGetFieldValues");
    int (*rates)(device_t, utilization_t *) = symbol(library, "nvmlDeviceGetUtilizationRates");
    int (*memory)(device_t, memory_v2_t *) = symbol(library, "nvmlDeviceGetMemoryInfo_v2");
    int (*celsius)(device_t, int, unsigned *) = symbol(library, "nvmlDeviceGetTemperature");
    device_t devices[GPUS];
    unsigned count = 0;
    volatile double sum = 0;
    init(0);
    get_count(&count);
    for (unsigned i = 0; i < count && i < GPUS; i++)
        handle(i, &devices[i]);
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (;;) {
        unsigned now_count = 0;
        get_count(&now_count);
        for (unsigned i = 0; i < count && i < GPUS; i++) {
            field_t told[2] = {{.field = 83}, {.field = 185}}; /* energy, mean power */
            unsigned degrees = 0;
            utilization_t used = {0, 0};
            memory_v2_t bytes = {.version = 0x02000028};
            fields(devices[i], 2, told);
            rates(devices[i], &used);
            memory(devices[i], &bytes);
            celsius(devices[i], 0, &degrees);
            sum += told[0].value + told[1].value + used.gpu + bytes.used + degrees;
        }
        next.tv_nsec += period;
        while (next.tv_nsec >= 1000000000L) {
            next.tv_nsec -= 1000000000L;
            next.tv_sec++;
        }
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
}
