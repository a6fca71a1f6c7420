#!/bin/sh
# The certificates of a distributed store: ./certificates.sh FOLDER [NAME or address of a replica ...]
#
#   ca.crt                    who signed them; every program needs it
#   server.crt, server.key    of all replicas, for each other and for whoever asks them
#   client.crt, client.key    of the Collector, Grafana, and a person with curl
#
# They are valid for a year; ca.key signs the next ones if the script is run again.
set -eu
folder=${1:?usage: certificates.sh FOLDER [NAME ...]}
shift
umask 077
mkdir -p "$folder"
cd "$folder"

names="DNS:localhost,IP:127.0.0.1"
for name in "$@"; do
  case $name in
    *[!0-9.]*) names="$names,DNS:$name" ;;
    *) names="$names,IP:$name" ;;
  esac
done

new_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

if [ ! -f ca.key ]; then
  new_key ca.key
  openssl req -x509 -new -key ca.key -subj "/CN=otel-budget store" -days 3650 -out ca.crt
fi
printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$names" > server.ext
printf 'extendedKeyUsage=clientAuth\n' > client.ext
for who in server client; do
  new_key "$who.key"
  openssl req -new -key "$who.key" -subj "/CN=$who" |
    openssl x509 -req -CA ca.crt -CAkey ca.key -CAcreateserial -days 365 \
      -extfile "$who.ext" -out "$who.crt" 2> openssl.log || { cat openssl.log >&2; exit 1; }
done
rm -f server.ext client.ext openssl.log
