#!/usr/bin/env bash
# Make the certificates of one Dask cluster: an authority of its own, and one certificate each for
# scheduler, workers and clients (the runs of Dagster).
#
#     docs/cluster/make_certificates.sh FOLDER [DAYS]
#
# Dask lets in whoever shows a certificate of this authority, under any host name: use it for nothing
# else, keep ca.key away from the cluster, and make new certificates by a new call into a new folder.
set -euo pipefail
folder=$1
days=${2:-365}
umask 077
mkdir -p "$folder"
if [[ -e $folder/ca.pem ]]; then
  echo "$folder has certificates already; name another folder" >&2
  exit 1
fi
key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc)

openssl req -x509 "${key[@]}" -days "$days" -subj "/CN=Dask cluster" \
  -addext "basicConstraints=critical,CA:TRUE,pathlen:0" \
  -addext "keyUsage=critical,keyCertSign,cRLSign" \
  -keyout "$folder/ca.key" -out "$folder/ca.pem" 2> /dev/null

for role in scheduler worker client; do
  openssl req -new "${key[@]}" -subj "/CN=$role" \
    -keyout "$folder/$role.key" -out "$folder/$role.csr" 2> /dev/null
  # Each of them calls the others, and is called: the scheduler calls workers, workers each other.
  openssl x509 -req -in "$folder/$role.csr" -days "$days" \
    -CA "$folder/ca.pem" -CAkey "$folder/ca.key" -CAcreateserial \
    -extfile <(
      echo "basicConstraints=critical,CA:FALSE"
      echo "keyUsage=critical,digitalSignature"
      echo "extendedKeyUsage=serverAuth,clientAuth"
      echo "subjectKeyIdentifier=hash"
      echo "authorityKeyIdentifier=keyid"
    ) -out "$folder/$role.pem" 2> /dev/null
  rm "$folder/$role.csr"
done
rm -f "$folder/ca.srl"
openssl verify -CAfile "$folder/ca.pem" "$folder"/{scheduler,worker,client}.pem
