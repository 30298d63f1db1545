SELECT
  "t7"."subject_id",
  "t3"."sensorreadingtime",
  "t3"."distancefromobject",
  "t5"."x",
  "t5"."y",
  "t5"."z"
FROM "step_trainer_trusted" AS "t3"
INNER JOIN (
  SELECT
    "t1"."serialnumber",
    "t1"."email",
    ARRAY_SLICE(
      SHA256(
        'd57b870def5e281666628346bacecf68435c2331f824d58ead99e8bfdb6688fb' || SHA256(
          '9095973f3646f59bd64a40b54440ae3e31ebbe3315f183bc75f77afd3adf8c91' || "t1"."email"
        )
      ),
      COALESCE(NULL, 1),
      COALESCE(32, -1)
    ) AS "subject_id"
  FROM "device_ownership" AS "t1"
) AS "t7"
  ON "t3"."serialnumber" = "t7"."serialnumber"
INNER JOIN (
  SELECT
    "t2".*
    EXCLUDE ("serialnumber")
  FROM "accelerometer_trusted" AS "t2"
) AS "t5"
  ON "t7"."email" = "t5"."user" AND "t3"."sensorreadingtime" = "t5"."timestamp"
