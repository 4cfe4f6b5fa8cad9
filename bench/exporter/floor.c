/* The floor of serving: formats every value of a page of metrics anew and sends it, one connection
 * at a time, kept alive. Usage: floor PORT FILE; FILE is a page in the Prometheus text format. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LINES = 100000, HEAD = 256 };
static char *text[LINES];
static double value[LINES];
static int lines;

static size_t load(const char *file) {
    FILE *in = fopen(file, "r");
    char *line = NULL;
    size_t room = 0, total = 0;
    ssize_t length;
    if (!in)
        exit(1);
    while ((length = getline(&line, &room, in)) > 0 && lines < LINES) {
        char *space = *line == '#' ? NULL : strrchr(line, ' ');
        value[lines] = space ? atof(space + 1) : 0;
        if (space)
            space[1] = 0;
        text[lines++] = strdup(line);
        total += length + 32;
    }
    free(line);
    fclose(in);
    return total;
}

static size_t render(char *body) {
    char *end = body;
    for (int i = 0; i < lines; i++) {
        size_t length = strlen(text[i]);
        memcpy(end, text[i], length);
        end += length;
        if (*text[i] != '#')
            end += sprintf(end, "%.15g\n", value[i] += 0.001);
    }
    return end - body;
}

static void answer(int client, char *page) {
    char request[8192], head[HEAD];
    while (read(client, request, sizeof request) > 0) {
        size_t size = render(page + HEAD);
        int length = snprintf(head, sizeof head,
                              "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                              "Content-Length: %zu\r\n\r\n", size);
        char *start = memcpy(page + HEAD - length, head, length);
        for (size_t left = size + length; left > 0;) {
            ssize_t sent = send(client, start, left, MSG_NOSIGNAL);
            if (sent <= 0)
                return;
            start += sent;
            left -= sent;
        }
    }
}

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    char *page = malloc(HEAD + load(argv[2]));
    int yes = 1, server = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(server, (struct sockaddr *)&address, sizeof address) || listen(server, 16))
        return 1;
    for (;;) {
        int client = accept(server, NULL, NULL);
        if (client < 0)
            continue;
        answer(client, page);
        close(client);
    }
}
