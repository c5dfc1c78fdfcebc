"""Stands before a broker of Kafka: ends TLS, asks for a client's certificate, and lets in who proves a name by SASL.

kafka_gate.py PORT BROKER_PORT [cert=PEM key=PEM [ca=PEM]] [user=NAME password=TEXT]
Prints its own port when it listens: PORT 0 takes a free one."""
import base64, hashlib, hmac, os, socket, ssl, struct, sys, threading

port, broker = int(sys.argv[1]), int(sys.argv[2])
set_to = dict(a.split("=", 1) for a in sys.argv[3:])
HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
VERSIONS, HANDSHAKE, AUTHENTICATE = 18, 17, 36


def read(s, n):
    data = b""
    while len(data) < n:
        more = s.recv(n - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def frame(s):
    return read(s, struct.unpack(">i", read(s, 4))[0])


def send(s, body):
    s.sendall(struct.pack(">i", len(body)) + body)


def text(t):
    return struct.pack(">h", len(t)) + t


class Refused(Exception):
    pass


def plain(first, ask):
    _, user, password = first.split(b"\0")
    if (user.decode(), password.decode()) != (set_to["user"], set_to["password"]):
        raise Refused("PLAIN")
    return b""


def scram(name):
    def run(first, ask):
        bare = first.split(b",", 2)[2]
        said = dict(p.split("=", 1) for p in bare.decode().split(","))
        salt, nonce = os.urandom(16), said["r"] + base64.b64encode(os.urandom(12)).decode()
        server = f"r={nonce},s={base64.b64encode(salt).decode()},i=4096"
        final = ask(server.encode()).decode()
        without, proof = final.rsplit(",p=", 1)
        mac = lambda key, data: hmac.new(key, data, name).digest()
        salted = hashlib.pbkdf2_hmac(name, set_to["password"].encode(), salt, 4096)
        client_key = mac(salted, b"Client Key")
        signed = b",".join([bare, server.encode(), without.encode()])
        signature = mac(hashlib.new(name, client_key).digest(), signed)
        wanted = bytes(a ^ b for a, b in zip(client_key, signature))
        if said["n"] != set_to["user"] or base64.b64decode(proof) != wanted or f"r={nonce}" not in without:
            raise Refused("SCRAM")
        return b"v=" + base64.b64encode(mac(mac(salted, b"Server Key"), signed))
    return run


WAYS = {"PLAIN": plain} | {mechanism: scram(name) for mechanism, name in HASHES.items()}


def log_in(client, up):
    """Answers until the client has proven its name. The broker is asked what it speaks only."""
    way, pending = None, []

    def next_token():
        nonlocal way
        while True:
            request = frame(client)
            key, version, id_ = struct.unpack(">hhi", request[:8])
            at = 10 + max(struct.unpack(">h", request[8:10])[0], 0)
            if key == VERSIONS:
                send(up, request)
                send(client, frame(up))
            elif key == HANDSHAKE:
                length = struct.unpack(">h", request[at:at + 2])[0]
                mechanism = request[at + 2:at + 2 + length].decode()
                way = WAYS.get(mechanism)
                names = b"".join(text(n.encode()) for n in WAYS)
                send(client, struct.pack(">ihi", id_, 0 if way else 33, len(WAYS)) + names)
            elif key == AUTHENTICATE:
                if version > 1:
                    raise Refused(f"SaslAuthenticate v{version}")
                pending[:] = [id_, version]
                length = struct.unpack(">i", request[at:at + 4])[0]
                return request[at + 4:at + 4 + length]
            else:
                raise Refused(f"request {key} without a name")

    def answer(token, error=0, message=None):
        said = text(message) if message else struct.pack(">h", -1)
        body = struct.pack(">ih", pending[0], error) + said + struct.pack(">i", len(token)) + token
        send(client, body + (struct.pack(">q", 0) if pending[1] >= 1 else b""))

    def ask(token):
        answer(token)
        return next_token()

    token = next_token()
    try:
        done = way(token, ask)
    except Refused as refused:
        answer(b"", 58, b"Authentication failed: Invalid username or password")
        raise
    answer(done)


def pump(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
    except OSError:
        pass
    for s in (a, b):
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(client):
    try:
        if "cert" in set_to:
            client = context.wrap_socket(client, server_side=True)
        up = socket.create_connection(("127.0.0.1", broker))
        if "user" in set_to:
            log_in(client, up)
    except (OSError, EOFError, Refused):
        client.close()
        return
    threading.Thread(target=pump, args=(client, up), daemon=True).start()
    pump(up, client)


if "cert" in set_to:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(set_to["cert"], set_to["key"])
    if "ca" in set_to:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(set_to["ca"])
listener = socket.create_server(("127.0.0.1", port))
print("ready", listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
