SELECT
  "t15"."serialnumber",
  "t15"."sharewithpublicasofdate",
  "t15"."birthday",
  "t15"."registrationdate",
  "t15"."sharewithresearchasofdate",
  "t15"."customername",
  "t15"."person" AS "email",
  "t15"."lastupdatedate",
  "t15"."phone",
  "t15"."sharewithfriendsasofdate"
FROM (
  SELECT
    "t10"."serialnumber",
    "t10"."sharewithpublicasofdate",
    "t10"."birthday",
    "t10"."registrationdate",
    "t10"."sharewithresearchasofdate",
    "t10"."customername",
    "t10"."email",
    "t10"."lastupdatedate",
    "t10"."phone",
    "t10"."sharewithfriendsasofdate",
    "t10"."person",
    "t10"."source_file",
    "t10"."landed_at",
    "t10"."rank"
  FROM (
    SELECT
      *
    FROM (
      SELECT
        "t0"."serialnumber",
        "t0"."sharewithpublicasofdate",
        "t0"."birthday",
        "t0"."registrationdate",
        "t0"."sharewithresearchasofdate",
        "t0"."customername",
        "t0"."email",
        "t0"."lastupdatedate",
        "t0"."phone",
        "t0"."sharewithfriendsasofdate",
        "t0"."person",
        "t0"."source_file",
        "t0"."landed_at",
        ROW_NUMBER() OVER (
          PARTITION BY "t0"."person"
          ORDER BY COALESCE("t0"."lastupdatedate", "t0"."registrationdate", "t0"."landed_at") DESC, "t0"."registrationdate" DESC, "t0"."sharewithresearchasofdate" IS NOT NULL ASC, "t0"."serialnumber" ASC, "t0"."sharewithpublicasofdate" ASC, "t0"."birthday" ASC, "t0"."sharewithresearchasofdate" ASC, "t0"."customername" ASC, "t0"."lastupdatedate" ASC, "t0"."phone" ASC, "t0"."sharewithfriendsasofdate" ASC
          ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        ) - 1 AS "rank"
      FROM "customer_landing" AS "t0"
    ) AS "t7"
    WHERE
      "t7"."rank" = 0 AND "t7"."sharewithresearchasofdate" IS NOT NULL
  ) AS "t10"
  ANTI JOIN (
    SELECT
      "t12"."person"
    FROM (
      SELECT
        "t8"."person",
        MAX("t8"."landed_at") AS "unreadable_at"
      FROM (
        SELECT
          "t4"."source",
          "t4"."source_file",
          "t4"."position",
          "t4"."raw",
          "t4"."reason",
          "t4"."landed_at",
          UNNEST(STR_SPLIT("t4"."person", '')) AS "person"
        FROM (
          SELECT
            *
          FROM "quarantine" AS "t1"
          WHERE
            "t1"."source" = 'customer' AND "t1"."person" IS NOT NULL
        ) AS "t4"
      ) AS "t8"
      GROUP BY
        1
    ) AS "t12"
    ANTI JOIN (
      SELECT
        "t0"."person",
        MAX("t0"."landed_at") AS "readable_at"
      FROM "customer_landing" AS "t0"
      GROUP BY
        1
    ) AS "t5"
      ON "t12"."person" = "t5"."person" AND "t12"."unreadable_at" < "t5"."readable_at"
  ) AS "t14"
    ON "t10"."person" = "t14"."person"
  ANTI JOIN (
    SELECT DISTINCT
      "t1"."person"
    FROM "quarantine" AS "t1"
    WHERE
      "t1"."source" = 'hold' AND "t1"."person" IS NOT NULL
  ) AS "t6"
    ON "t10"."person" = "t6"."person"
) AS "t15"
